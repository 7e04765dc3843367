"""An HTTP/2 application that attacks who asks it: `bad_servers_http2.py ADDRESS PORT`.

`/NUMBER` is a line of the table `against_client`; whatever else is asked for is answered, and the connection
ends with it.
"""

import asyncio
import contextlib
import sys

from hpack import Decoder
from hyperframe.frame import Frame, GoAwayFrame, HeadersFrame

from proxy.codec.frames import HEAD_SIZE, PREFACE
from proxy.codec.header_blocks import write_block
from tests.support.http2_abuse import Attack, against_client
from tests.support.http2_world import OK, headers, settings

ATTACKS = list(against_client(OK).values())
AT_ONCE = 100


async def asked(reader: asyncio.StreamReader) -> tuple[int, str]:
    """Stream and path of the first request."""
    await reader.readexactly(len(PREFACE))
    while True:
        frame, length = Frame.parse_frame_header(memoryview(await reader.readexactly(HEAD_SIZE)))
        frame.parse_body(memoryview(await reader.readexactly(length)))
        if isinstance(frame, HeadersFrame):
            fields = dict(Decoder().decode(frame.data, raw=True))
            return frame.stream_id, fields[b":path"].decode()


async def attack(writer: asyncio.StreamWriter, how: Attack) -> None:
    """Go on until the connection is over."""
    writer.write(how.before)
    number = 0
    while not writer.is_closing() and number < (how.rounds or sys.maxsize):
        writer.write(how.again(number))
        number += 1
        if number % AT_ONCE == 0:
            await writer.drain()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        writer.write(settings())
        stream, path = await asked(reader)
        word = path[1:]
        if word.isdigit():
            ears = asyncio.ensure_future(reader.read(-1))
            await attack(writer, ATTACKS[int(word)])
            await ears
        else:
            writer.write(
                headers(stream, write_block(OK), end=True) + GoAwayFrame(0, stream).serialize()
            )
            await writer.drain()
    writer.close()


async def main(address: str, port: str) -> None:
    server = await asyncio.start_server(serve, address, int(port))
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
