"""An HTTP/2 application that misbehaves as its paths say: `bad_http2.py ADDRESS PORT`, made with `h2`.

/ok         answers
/never      accepts the request and never answers; /given-up tells how many of these were cancelled
/trickle    three bytes, one a second
/reset      resets the stream in the middle of the body
/short      says that the body is longer than it is
/long       sends more than it said
/shout      a response with a field that HTTP/2 forbids
/cut        resets the connection in the middle of the body
/hang-up    resets the connection instead of an answer
/garbage    writes on the connection what is no frame
"""

import socket
import struct
import sys
from collections.abc import Awaitable, Callable

import anyio
import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
from anyio.abc import SocketAttribute, SocketStream

BODY = b"0123456789"
given_up = 0


class Reset(Exception):
    """The connection is to be reset."""


class Line:
    """One connection."""

    def __init__(self, stream: SocketStream) -> None:
        config = h2.config.H2Configuration(
            client_side=False,
            header_encoding=None,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.h2 = h2.connection.H2Connection(config)
        self.stream = stream
        self._turn = anyio.Lock()

    async def flush(self, more: bytes = b"") -> None:
        """Send what the library has to say, and `more`."""
        async with self._turn:
            if data := self.h2.data_to_send() + more:
                await self.stream.send(data)

    async def head(self, number: int, length: int = 0, *more: tuple[bytes, bytes]) -> None:
        """The head of a response with so many bytes; 0: it does not say how many."""
        fields = [(b":status", b"200"), *more]
        if length:
            fields.append((b"content-length", b"%d" % length))
        self.h2.send_headers(number, fields)
        await self.flush()

    async def body(self, number: int, data: bytes, *, end: bool = False) -> None:
        """Some of the body."""
        self.h2.send_data(number, data, end_stream=end)
        await self.flush()


async def answer(line: Line, number: int, body: bytes) -> None:
    await line.head(number, len(body))
    await line.body(number, body, end=True)


async def ok(line: Line, number: int) -> None:
    await answer(line, number, BODY)


async def never(line: Line, number: int) -> None:
    pass


async def tell(line: Line, number: int) -> None:
    await answer(line, number, b"%d" % given_up)


async def trickle(line: Line, number: int) -> None:
    await line.head(number, 3)
    for left in (2, 1, 0):
        await anyio.sleep(1)
        await line.body(number, b"t", end=not left)


async def reset(line: Line, number: int) -> None:
    await line.head(number)
    await line.body(number, BODY)
    line.h2.reset_stream(number, h2.errors.ErrorCodes.INTERNAL_ERROR)
    await line.flush()


async def short(line: Line, number: int) -> None:
    await line.head(number, 100)
    await line.body(number, BODY, end=True)


async def long(line: Line, number: int) -> None:
    await line.head(number, 5)
    await line.body(number, BODY, end=True)


async def shout(line: Line, number: int) -> None:
    await line.head(number, len(BODY), (b"X-Shout", b"1"))
    await line.body(number, BODY, end=True)


async def cut(line: Line, number: int) -> None:
    await line.head(number)
    await line.body(number, BODY)
    # What was sent must be read before the reset is heard, or it is lost with it.
    await anyio.sleep(0.5)
    raise Reset


async def hang_up(line: Line, number: int) -> None:
    raise Reset


async def garbage(line: Line, number: int) -> None:
    await line.flush(b"HTTP/1.1 200 OK\r\n\r\n" * 1000)


BEHAVIOURS: dict[bytes, Callable[[Line, int], Awaitable[None]]] = {
    b"/ok": ok,
    b"/never": never,
    b"/given-up": tell,
    b"/trickle": trickle,
    b"/reset": reset,
    b"/short": short,
    b"/long": long,
    b"/shout": shout,
    b"/cut": cut,
    b"/hang-up": hang_up,
    b"/garbage": garbage,
}


async def serve(stream: SocketStream) -> None:
    line = Line(stream)
    try:
        async with stream, anyio.create_task_group() as group:
            line.h2.initiate_connection()
            await line.flush()
            while True:
                for event in line.h2.receive_data(await stream.receive()):
                    heard(line, event, group)
                await line.flush()
    except* Reset:
        pass
    except* (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
        pass
    except* h2.exceptions.ProtocolError:
        pass


def heard(line: Line, event: h2.events.Event, group: anyio.abc.TaskGroup) -> None:
    global given_up
    match event:
        case h2.events.RequestReceived(stream_id=number, headers=headers):
            behaviour = BEHAVIOURS[dict(headers)[b":path"]]

            async def behave() -> None:
                try:
                    await behaviour(line, number or 0)
                except Reset:
                    linger = struct.pack("ii", 1, 0)
                    connection = line.stream.extra(SocketAttribute.raw_socket)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    raise

            group.start_soon(behave)
        case h2.events.StreamReset(error_code=h2.errors.ErrorCodes.CANCEL):
            given_up += 1


async def main(address: str, port: int) -> None:
    listener = await anyio.create_tcp_listener(local_host=address, local_port=port)
    await listener.serve(serve)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], int(sys.argv[2]))
