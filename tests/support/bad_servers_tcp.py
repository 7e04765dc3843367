"""TCP applications that misbehave: `bad_servers_tcp.py ADDRESS KIND=PORT …`. Plain Python.

stream: the client's first line says what happens, `BEHAVIOUR [ARGUMENT]`, see STREAMS
closer: closes each connection as soon as it is there
resetter: resets it
deaf: listens, but its queue is full, and it takes nobody
"""

import asyncio
import json
import socket
import struct
import sys
from collections import Counter
from typing import TypeAlias

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter
PIECE = b"x" * 65536
stats: Counter[str] = Counter()
released = asyncio.Event()


def reset(writer: Writer) -> None:
    """Leave with RST instead of FIN."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def tell(reader: Reader, writer: Writer, argument: str) -> None:
    writer.write(json.dumps(stats).encode())


async def source(reader: Reader, writer: Writer, argument: str) -> None:
    """So many bytes."""
    left = int(argument)
    while left:
        writer.write(PIECE[:left])
        await writer.drain()
        stats["sent"] += len(PIECE[:left])
        left -= len(PIECE[:left])


async def echo(reader: Reader, writer: Writer, argument: str) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    stats["ended"] += 1
    writer.write(b"bye")


async def first_end(reader: Reader, writer: Writer, argument: str) -> None:
    """Ends its half, and counts what comes until the client ends, too."""
    writer.write(b"over")
    writer.write_eof()
    while data := await reader.read(65536):
        stats["after_end"] += len(data)


async def break_off(reader: Reader, writer: Writer, argument: str) -> None:
    """Says something, and resets."""
    writer.write(b"some")
    await writer.drain()
    await asyncio.sleep(0.05)
    reset(writer)


async def hold(reader: Reader, writer: Writer, argument: str) -> None:
    """Says nothing, until the client is gone."""
    while await reader.read(65536):
        pass


async def stubborn(reader: Reader, writer: Writer, argument: str) -> None:
    """Neither reads nor leaves, whatever the client does, before it is told to."""
    await released.wait()


async def release(reader: Reader, writer: Writer, argument: str) -> None:
    global released
    released.set()
    released = asyncio.Event()


STREAMS = {
    "stats": tell,
    "source": source,
    "echo": echo,
    "end": first_end,
    "reset": break_off,
    "hold": hold,
    "stubborn": stubborn,
    "release": release,
}


async def stream(reader: Reader, writer: Writer) -> None:
    behaviour, _, argument = (await reader.readline()).decode().strip().partition(" ")
    if not behaviour:
        return
    stats[behaviour] += 1
    try:
        await STREAMS[behaviour](reader, writer, argument)
    except OSError:
        stats["broken"] += 1
    finally:
        stats[behaviour] -= 1
        writer.close()


async def closer(reader: Reader, writer: Writer) -> None:
    writer.close()


async def resetter(reader: Reader, writer: Writer) -> None:
    reset(writer)


def deaf(address: str, port: int) -> list[socket.socket]:
    """A listener whose queue of connections is full: to those that come, it seems not to be there."""
    listener = socket.create_server((address, port), backlog=0)
    fillers = [listener]
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex((address, port))
        fillers.append(filler)
    return fillers


KINDS = {"stream": stream, "closer": closer, "resetter": resetter}


async def main(address: str, *places: str) -> None:
    kept = []
    for kind, _, port in (place.partition("=") for place in places):
        if kind == "deaf":
            kept += deaf(address, int(port))
        else:
            await asyncio.start_server(KINDS[kind], address, int(port), backlog=1024)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
