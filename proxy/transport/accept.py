"""A connection arrives: how many there may be, and what is known of each before its first byte."""

import asyncio
import socket
from collections.abc import Callable
from typing import cast

import anyio

from proxy.transport import census
from proxy.transport.connect import tune
from proxy.transport.original_dst import Address, local_address, original_dst, peer_address
from proxy.transport.waiting import Waiting


class Arrival:
    """A connection that somebody made to this proxy; reading is paused."""

    __slots__ = ("left", "local", "original", "peer", "transport")

    def __init__(
        self,
        transport: asyncio.Transport,
        peer: Address,
        local: Address,
        original: Address | None,
        left: Callable[[], None],
    ) -> None:
        self.transport = transport
        self.peer = peer
        self.local = local
        """Our end of the connection."""
        self.original = original
        """Where the client meant to connect to; None if it meant this proxy."""
        self.left = left
        """To be called once when the connection is over."""

    def __repr__(self) -> str:
        return f"<Arrival {self.peer} for {self.original or 'us'}>"


class Listener:
    """Accepts connections on one address and hands each to `arrived`."""

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
        self.open = 0
        """Connections accepted that have not left yet."""

    @property
    def port(self) -> int:
        """The port that it listens on, once it does."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listen; raises OSError if the address cannot be had."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Door(self), self._host, self._port, backlog=4096, reuse_address=True
        )

    def stop(self) -> None:
        """Accept no more."""
        if self._server is not None:
            self._server.close()

    async def empty(self) -> None:
        """Wait until no connection is open."""
        while self.open:
            await self._emptied.wait()

    def accept(self, transport: asyncio.Transport) -> None:
        """Look at a new connection and pass it on, or close it if there are too many."""
        if self.open >= self._limit:
            self._refused()
            transport.abort()
            return
        connection: socket.socket = transport.get_extra_info("socket")
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
        self.open += 1
        census.enter(transport)
        self._arrived(arrival)

    def _left(self) -> None:
        self.open -= 1
        if not self.open:
            self._emptied.set()
            self._emptied = anyio.Event()


class _Door(Waiting):
    """Meets a connection; another protocol takes over at once, or when it is known which."""

    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self._listener = listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._listener.accept(cast(asyncio.Transport, transport))
