"""A connection arrives: how many there may be, and what is known of each before its first byte."""

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Callable, Sequence
from typing import cast

import anyio

from proxy.transport import census
from proxy.transport.connect import tune
from proxy.transport.original_dst import Address, local_address, original_dst, peer_address
from proxy.transport.stream import reset
from proxy.transport.waiting import Waiting


class Arrival:
    """A connection that somebody made to this proxy; reading is paused."""

    __slots__ = ("_left", "local", "original", "peer", "transport")

    def __init__(
        self,
        transport: asyncio.Transport,
        peer: Address,
        local: Address,
        original: Address | None,
        left: Callable[["Arrival"], None],
    ) -> None:
        self.transport = transport
        self.peer = peer
        self.local = local
        """Our end of the connection."""
        self.original = original
        """Where the client meant to connect to; None if it meant this proxy."""
        self._left = left

    def __repr__(self) -> str:
        return f"<Arrival {self.peer} for {self.original or 'us'}>"

    def left(self) -> None:
        """To be called once when the connection is over."""
        self._left(self)


class Listener:
    """Accepts connections on one address, or on all (`*`), and hands each to `arrived`."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        limit: int,
        arrived: Callable[[Arrival], None],
        refused: Callable[[], None],
    ) -> None:
        self._host = host
        self._port = port
        self._limit = limit
        self._arrived = arrived
        self._refused = refused
        self._server: asyncio.Server | None = None
        self._emptied = anyio.Event()
        self._present: set[Arrival] = set()
        self.arrived_at = 0.0
        """When the last connection was accepted; loop time, seconds."""

    @property
    def open(self) -> int:
        """Connections accepted that have not left yet."""
        return len(self._present)

    @property
    def port(self) -> int:
        """The port that it listens on, once it does."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listen; raises OSError if the address cannot be had."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Door(self),
            None if self._host == "*" else self._host,
            self._port,
            backlog=4096,
            reuse_address=True,
        )

    async def stop(self) -> None:
        """Accept those that wait to be accepted, and no more."""
        server, self._server = self._server, None
        if server is None:
            return
        # The kernel resets what was not accepted when the last descriptor is closed, so ours is the last.
        doors = [socket.socket(fileno=os.dup(door.fileno())) for door in server.sockets]
        server.close()
        waiting = [connection for door in doors for connection in _accept_and_close(door)]
        loop = asyncio.get_running_loop()
        for connection in waiting:
            await loop.connect_accepted_socket(lambda: _Door(self), connection)

    def abort(self) -> None:
        """Break every connection that is open: whoever reads must not take it for the end."""
        for arrival in list(self._present):
            reset(arrival.transport)

    async def empty(self) -> None:
        """Wait until no connection is open."""
        while self._present:
            await self._emptied.wait()

    def accept(self, transport: asyncio.Transport) -> None:
        """Look at a new connection and pass it on, or close it if there are too many."""
        self.arrived_at = asyncio.get_running_loop().time()
        connection: socket.socket = transport.get_extra_info("socket")
        if len(self._present) >= self._limit or census.is_crowded(connection):
            self._refused()
            transport.abort()
            return
        try:
            tune(connection)
            arrival = Arrival(
                transport,
                peer_address(connection),
                local_address(connection),
                original_dst(connection),
                self._left,
            )
        except OSError:
            # It is gone already.
            transport.abort()
            return
        self._present.add(arrival)
        census.enter(transport)
        self._arrived(arrival)

    def _left(self, arrival: Arrival) -> None:
        self._present.discard(arrival)
        if not self._present:
            self._emptied.set()
            self._emptied = anyio.Event()


def _accept_and_close(door: socket.socket) -> list[socket.socket]:
    """The connections that wait at a listening socket."""
    waiting: list[socket.socket] = []
    with door, contextlib.suppress(OSError):
        door.setblocking(False)
        while True:
            waiting.append(door.accept()[0])
    return waiting


async def start_all(listeners: Sequence[Listener]) -> list[Listener]:
    """Start them, and return those that listen; raises OSError.

    One whose address this machine does not have, such as `::1` where there is no IPv6, is left out if
    another listens.
    """
    listening: list[Listener] = []
    absent: OSError | None = None
    for listener in listeners:
        try:
            await listener.start()
            listening.append(listener)
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise
            absent = error
    if absent is not None and not listening:
        raise absent
    return listening


class _Door(Waiting):
    """Meets a connection; another protocol takes over at once, or when it is known which."""

    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self._listener = listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._listener.accept(cast(asyncio.Transport, transport))
