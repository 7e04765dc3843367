"""Streams of every kind with a far end that a test drives: in memory, over a plain socket, over TLS.

The far end of a TLS stream is Python's own ssl over a blocking socket, driven from a thread: nothing of
Tulle's is at that end.
"""

import asyncio
import select
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

import anyio
import anyio.lowlevel
from anyio.to_thread import run_sync

from common.x509 import client_context, server_context
from proxy.transport.stream import Stream
from proxy.transport.tls import Tls
from tests.support.nats import until
from tests.support.pki import Leaf, Pki
from tests.support.streams import MemoryStream

SECONDS = 10.0


class Recorder(asyncio.Protocol):
    """A stream's user that remembers what it was told."""

    def __init__(self, *, stays: bool = True) -> None:
        self.data = bytearray()
        self.events: list[str] = []
        self.error: Exception | None = None
        self._stays = stays

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> bool:
        self.events.append("end")
        return self._stays

    def connection_lost(self, error: Exception | None) -> None:
        self.events.append("lost")
        self.error = error

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")


class Far(Protocol):
    """The other end of a stream."""

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        ...

    async def receive(self, size: int) -> bytes:
        """So many bytes, or what came before the end; ConnectionError if the connection broke instead."""
        ...

    async def end(self) -> None:
        """Write no more; go on reading."""
        ...

    async def reset(self) -> None:
        """Break the connection."""
        ...


class MemoryFar:
    """The far end of a MemoryStream."""

    def __init__(self, stream: MemoryStream) -> None:
        self._stream = stream

    async def send(self, data: bytes) -> None:
        self._stream.hears(data)

    async def receive(self, size: int) -> bytes:
        heard = bytearray()
        self._stream.reads_again()

        def enough() -> bool:
            heard.extend(self._stream.says())
            return len(heard) >= size or self._stream.ended or self._stream.broken

        await until(enough)
        self._stream.stops_reading()
        if self._stream.broken and len(heard) < size:
            raise ConnectionResetError("aborted")
        return bytes(heard)

    async def end(self) -> None:
        self._stream.hears_end()

    async def reset(self) -> None:
        self._stream.breaks()


class SocketFar:
    """A blocking socket, plain or TLS, driven from threads."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.socket.settimeout(SECONDS)

    async def send(self, data: bytes) -> None:
        await run_sync(self.socket.sendall, data)

    async def receive(self, size: int) -> bytes:
        return await run_sync(self._receive, size)

    def _receive(self, size: int) -> bytes:
        heard = bytearray()
        while len(heard) < size:
            try:
                data = self.socket.recv(min(size - len(heard), 65536))
            except ssl.SSLZeroReturnError:
                break
            except ssl.SSLError as error:
                raise ConnectionResetError(str(error)) from None
            if not data:
                break
            heard += data
        return bytes(heard)

    async def end(self) -> None:
        if not isinstance(self.socket, ssl.SSLSocket):
            self.socket.shutdown(socket.SHUT_WR)
            return
        self.socket.settimeout(0)
        try:
            self.socket.unwrap()  # sends close_notify, then would wait for the peer's
        except ssl.SSLWantReadError:
            pass
        finally:
            self.socket.settimeout(SECONDS)

    async def truncate(self) -> None:
        """Close the socket well, whatever TLS would have to say about that."""
        self.socket.shutdown(socket.SHUT_WR)

    async def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection on loopback, with small buffers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    for end in (near, far):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return near, far


async def transport(connection: socket.socket, protocol: asyncio.BaseProtocol) -> asyncio.Transport:
    """The event loop's transport for a connected socket."""
    connection.setblocking(False)
    made, _ = await asyncio.get_running_loop().create_connection(lambda: protocol, sock=connection)
    return made


@asynccontextmanager
async def memory(user: asyncio.Protocol) -> AsyncIterator[tuple[Stream, Far]]:
    stream = MemoryStream(user)
    stream.stops_reading()
    yield stream, MemoryFar(stream)
    stream.breaks()
    await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def plain(user: asyncio.Protocol) -> AsyncIterator[tuple[Stream, Far]]:
    near, far = socket_pair()
    with far:
        stream = await transport(near, user)
        try:
            yield stream, SocketFar(far)
        finally:
            stream.abort()
            await anyio.lowlevel.checkpoint()


class TlsFiles:
    """Leaves of a small mesh as the files that Python's ssl wants."""

    def __init__(self, folder: Any) -> None:
        self.pki = Pki()
        self.anchors = self._write(folder / "anchors.pem", self.pki.anchors_pem.encode())
        self.web = self.pki.leaf("web")
        self.books = self.pki.leaf("books")
        self.web_file = self._write(folder / "web.pem", self.web.pem)
        self.books_file = self._write(folder / "books.pem", self.books.pem)

    @staticmethod
    def _write(path: Any, data: bytes) -> str:
        path.write_bytes(data)
        return str(path)

    def ours(self, leaf: Leaf, *, server: bool) -> ssl.SSLContext:
        """The context of one of our proxies."""
        make = server_context if server else client_context
        return make(leaf.pem, self.pki.anchors_pem)

    def theirs(self, file: str | None, *, server: bool) -> ssl.SSLContext:
        """A context made with Python's ssl alone."""
        role = ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT
        context = ssl.SSLContext(role)
        context.load_verify_locations(self.anchors)
        context.set_alpn_protocols(["tulle/1"])
        if file is not None:
            context.load_cert_chain(file)
        if server:
            context.verify_mode = ssl.CERT_REQUIRED
        return context


BOOKS_NAME = "books.shop.serviceaccount.identity.tulle.cluster.local"


@asynccontextmanager
async def tls(
    user: asyncio.Protocol, files: TlsFiles, *, server: bool
) -> AsyncIterator[tuple[Tls, SocketFar]]:
    """Our Tls as server or client, and Python's ssl as the peer."""
    near, far = socket_pair()
    outcome: list[Exception | None] = []

    def ready(stream: Tls, error: Exception | None) -> None:
        stream.set_protocol(user)
        outcome.append(error)

    context = files.ours(files.books if server else files.web, server=server)
    stream = Tls(context, ready, server_hostname=None if server else BOOKS_NAME)
    peer = files.theirs(files.web_file if server else files.books_file, server=not server)
    far.settimeout(SECONDS)
    shake: Callable[[], ssl.SSLSocket] = lambda: peer.wrap_socket(  # noqa: E731
        far,
        server_side=not server,
        server_hostname=BOOKS_NAME if server else None,
        suppress_ragged_eofs=False,
    )
    wrapped: list[ssl.SSLSocket] = []
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: _into(wrapped, shake))
            await transport(near, stream)
            await until(lambda: outcome)
        assert outcome == [None]
        yield stream, SocketFar(wrapped[0])
    finally:
        stream.abort()
        far.close()
        for one in wrapped:
            one.close()
        await anyio.lowlevel.checkpoint()


async def _into(found: list[ssl.SSLSocket], shake: Callable[[], ssl.SSLSocket]) -> None:
    found.append(await run_sync(shake))


async def readable(connection: socket.socket) -> None:
    """Wait until there is something to read, or an end."""
    await run_sync(select.select, [connection], [], [], SECONDS)
