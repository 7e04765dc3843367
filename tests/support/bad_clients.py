"""Clients that misbehave, and one that behaves and is strict about what it is told.

As a program: `bad_clients.py HOST PORT COUNT TARGET` asks for TARGET on so many connections, says `asked`
and reads nothing; who started it may stop it in its tracks.
"""

import asyncio
import contextlib
import socket
import struct
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import h11


def address_of(url: str) -> tuple[str, int]:
    """Host and port of a URL."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    return parts.hostname, parts.port or 80


def leave_with_reset(connection: socket.socket) -> None:
    """Make it end with RST when it is closed."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def head(url: str, method: str = "GET", *fields: str) -> bytes:
    """The head of a request to a forward proxy."""
    lines = [f"{method} {url} HTTP/1.1", f"host: {urlsplit(url).netloc}", *fields]
    return "\r\n".join([*lines, "", ""]).encode()


@dataclass
class Answer:
    """What a strict client makes of a response."""

    status: int = 0
    error: str = ""
    """What `tulle-error` says."""
    body: bytes = b""
    whole: bool = False
    """It ended as its framing said that it would."""
    broken: str = ""
    """How it ended otherwise."""


class Line:
    """A connection to a proxy, closed with the context."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, *data: bytes) -> None:
        """Send all of it."""
        self.writer.write(b"".join(data))
        await self.writer.drain()

    def reset(self) -> None:
        """Leave with RST."""
        if not self.writer.transport.is_closing():
            leave_with_reset(self.writer.get_extra_info("socket"))
            self.writer.transport.abort()

    async def answer(self, method: str = "GET") -> Answer:
        """The next response."""
        judge = h11.Connection(h11.CLIENT)
        judge.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
        judge.send(h11.EndOfMessage())
        answer = Answer()
        try:
            while not answer.whole:
                match judge.next_event():
                    case h11.NEED_DATA:
                        judge.receive_data(await self.reader.read(65536))
                    case h11.Response() as response:
                        answer.status = response.status_code
                        answer.error = dict(response.headers).get(b"tulle-error", b"").decode()
                    case h11.Data() as data:
                        answer.body += data.data
                    case h11.EndOfMessage():
                        answer.whole = True
                    case h11.ConnectionClosed():
                        answer.broken = "closed"
                        break
        except (OSError, h11.RemoteProtocolError) as error:
            answer.broken = repr(error)
        return answer

    async def rest(self) -> bytes:
        """All that comes until the other side ends; raises OSError if it breaks instead."""
        return await self.reader.read()


@contextlib.asynccontextmanager
async def line(proxy: str, *, window: int = 0) -> AsyncIterator[Line]:
    """A connection to `proxy` (a URL); with a receive buffer of so many bytes."""
    connection = socket.socket()
    if window:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, address_of(proxy))
    # Small limits: what is not read is to stay with the proxy.
    reader, writer = await asyncio.open_connection(sock=connection, limit=window or 65536)
    try:
        yield Line(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def tunnel(proxy: str, authority: str, *, window: int = 0) -> AsyncIterator[Line]:
    """A connection to `authority` through `proxy` by CONNECT."""
    async with line(proxy, window=window) as made:
        await made.say(f"CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n\r\n".encode())
        granted = await made.reader.readuntil(b"\r\n\r\n")
        assert granted.startswith(b"HTTP/1.1 200"), granted
        yield made


async def ask(proxy: str, url: str, method: str = "GET", *fields: str, body: bytes = b"") -> Answer:
    """One request on a connection of its own, and what came of it."""
    async with line(proxy) as made:
        if body:
            fields = (*fields, f"content-length: {len(body)}")
        await made.say(head(url, method, *fields), body)
        return await made.answer(method)


@contextlib.contextmanager
def deaf_sockets(proxy: str, data: bytes, count: int) -> Iterator[list[socket.socket]]:
    """So many connections on which `data` was said and nothing will be read."""
    with contextlib.ExitStack() as stack:
        made = []
        for _ in range(count):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(address_of(proxy))
            connection.sendall(data)
            made.append(connection)
        yield made


def main(host: str, port: str, count: str, target: str) -> None:
    with deaf_sockets(f"http://{host}:{port}", head(target), int(count)):
        sys.stdout.write("asked\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
