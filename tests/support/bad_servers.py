"""A web application that misbehaves as its paths say: `bad_servers.py ADDRESS PORT …`. Plain Python.

`/BEHAVIOUR/ARGUMENT`, see BEHAVIOURS; /stats tells what it saw, on whichever port.
"""

import asyncio
import json
import socket
import struct
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeAlias
from urllib.parse import urlsplit

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter
PIECE = b"x" * 65536
GREETING = b"HTTP/1.1 200 OK\r\n"
stats: Counter[str] = Counter()
released = asyncio.Event()


def reset(writer: Writer) -> None:
    """Leave with RST instead of FIN."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def say(writer: Writer, data: bytes) -> None:
    """Send, and be sure that it is on its way before anything else happens."""
    writer.write(data)
    await writer.drain()
    await asyncio.sleep(0.02)


async def ok(reader: Reader, writer: Writer, argument: str) -> bool:
    body = b"ok" * int(argument or "1")
    writer.write(GREETING + b"content-length: %d\r\n\r\n" % len(body) + body)
    await writer.drain()
    return True


async def tell(reader: Reader, writer: Writer, argument: str) -> bool:
    body = json.dumps(stats).encode()
    writer.write(GREETING + b"content-length: %d\r\n\r\n" % len(body) + body)
    return False


async def never(reader: Reader, writer: Writer, argument: str) -> bool:
    """Says nothing, until the client is gone."""
    stats["held"] += 1
    try:
        while await reader.read(65536):
            pass
    finally:
        stats["held"] -= 1
        stats["given_up"] += 1
    return False


async def close(reader: Reader, writer: Writer, argument: str) -> bool:
    return False


FRAMINGS = {
    "length": GREETING + b"content-length: 100\r\n\r\n0123456789",
    "chunked": GREETING + b"transfer-encoding: chunked\r\n\r\na\r\n0123456789\r\n",
    "close": GREETING + b"connection: close\r\n\r\n0123456789",
    "head": b"HTTP/1.1 200 OK\r\ncontent-le",
    "nothing": b"",
}


async def reset_after(reader: Reader, writer: Writer, argument: str) -> bool:
    await say(writer, FRAMINGS[argument])
    reset(writer)
    return False


async def end_after(reader: Reader, writer: Writer, argument: str) -> bool:
    await say(writer, FRAMINGS[argument])
    return False


async def garbage(reader: Reader, writer: Writer, argument: str) -> bool:
    piece, _, times = argument.partition("x")
    await say(writer, bytes.fromhex(piece) * int(times or "1"))
    await never(reader, writer, "")
    return False


async def twice(reader: Reader, writer: Writer, argument: str) -> bool:
    one = GREETING + b"content-length: 3\r\n\r\none"
    two = b"HTTP/1.1 404 Not Found\r\ncontent-length: 3\r\n\r\ntwo"
    if argument == "later":
        await say(writer, one)
        await say(writer, two)
    else:
        await say(writer, one + two)
    return True


async def early(reader: Reader, writer: Writer, argument: str) -> bool:
    """Answers before the request's body is there; then `close`s, or reads `on`."""
    await say(writer, GREETING + b"content-length: 5\r\n\r\nearly")
    if argument == "on":
        await never(reader, writer, "")
    return False


async def trickle(reader: Reader, writer: Writer, argument: str) -> bool:
    """A head in small pieces, then a byte a second."""
    count = int(argument)
    head = GREETING + b"content-length: %d\r\n\r\n" % count
    for at in range(0, len(head), 5):
        await say(writer, head[at : at + 5])
    for _ in range(count):
        await asyncio.sleep(1.0)
        writer.write(b"t")
    return True


async def download(reader: Reader, writer: Writer, argument: str) -> bool:
    left = int(argument)
    writer.write(GREETING + b"content-length: %d\r\n\r\n" % left)
    stats["downloads"] += 1
    try:
        while left:
            piece = PIECE[:left]
            writer.write(piece)
            await writer.drain()
            stats["sent"] += len(piece)
            left -= len(piece)
    finally:
        stats["downloads"] -= 1
    return True


async def forever(reader: Reader, writer: Writer, argument: str) -> bool:
    """A response in chunks that has no end, as events have none: one, then silence."""
    await say(writer, GREETING + b"transfer-encoding: chunked\r\n\r\n3\r\none\r\n")
    await never(reader, writer, "")
    return False


async def sink(reader: Reader, writer: Writer, argument: str) -> bool:
    """Never reads the body; leaves when it is told to."""
    stats["sinks"] += 1
    try:
        await released.wait()
    finally:
        stats["sinks"] -= 1
    reset(writer)
    return False


async def release(reader: Reader, writer: Writer, argument: str) -> bool:
    """Tells those who wait for it to leave."""
    global released
    released.set()
    released = asyncio.Event()
    return await ok(reader, writer, "")


async def swallow(reader: Reader, writer: Writer, argument: str) -> bool:
    """Reads so many bytes of a body, or up to its last chunk, and then answers."""
    stats["swallowing"] += 1
    tail = b""
    try:
        left = int(argument or "-1")
        while left and not tail.endswith(b"0\r\n\r\n"):
            data = await reader.read(65536)
            if not data:
                return False
            tail = (tail + data)[-5:] if left < 0 else b""
            left -= len(data)
            stats["received"] += len(data)
    finally:
        stats["swallowing"] -= 1
    return await ok(reader, writer, "")


BEHAVIOURS: dict[str, Callable[[Reader, Writer, str], Awaitable[bool]]] = {
    "ok": ok,
    "stats": tell,
    "never": never,
    "close": close,
    "reset": reset_after,
    "end": end_after,
    "garbage": garbage,
    "twice": twice,
    "early": early,
    "trickle": trickle,
    "download": download,
    "forever": forever,
    "sink": sink,
    "release": release,
    "swallow": swallow,
}


async def http(reader: Reader, writer: Writer) -> None:
    """Requests on one connection."""
    again = True
    while again:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return
        stats["requests"] += 1
        path = urlsplit(head.split(b" ")[1].decode()).path
        _, behaviour, argument = f"{path}/".split("/", 3)[:3]
        again = await BEHAVIOURS[behaviour](reader, writer, argument)


async def serve(reader: Reader, writer: Writer) -> None:
    stats["connections"] += 1
    try:
        await http(reader, writer)
    except OSError:
        stats["broken"] += 1
    finally:
        stats["connections"] -= 1
        writer.close()


async def main(address: str, *ports: str) -> None:
    for port in ports:
        await asyncio.start_server(serve, address, int(port), backlog=1024)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
