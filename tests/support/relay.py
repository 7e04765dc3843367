"""A line to a server on loopback that a test can cut, mend and hold."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
from anyio.abc import SocketAttribute, SocketStream


class Line:
    """Connections to `port` reach the server while the line is whole, and flow while it is not held."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.port = port
        self.host = host
        self._flows = anyio.Event()
        self._flows.set()
        self._whole = True
        self._open: set[anyio.CancelScope] = set()

    def cut(self) -> None:
        """End all connections, and every new one at once."""
        self._whole = False
        for scope in self._open:
            scope.cancel()

    def mend(self) -> None:
        """Let everything through again."""
        self._whole = True
        self._flows.set()

    def hold(self) -> None:
        """Keep connections, but carry nothing on them any more."""
        self._flows = anyio.Event()

    async def carry(self, near: SocketStream, server: int) -> None:
        """Relay one connection until either side ends it or the line is cut."""
        async with near:
            if not self._whole:
                return
            async with (
                await anyio.connect_tcp(self.host, server) as far,
                anyio.create_task_group() as group,
            ):
                self._open.add(group.cancel_scope)
                group.start_soon(self._copy, near, far, group.cancel_scope)
                group.start_soon(self._copy, far, near, group.cancel_scope)
            self._open.discard(group.cancel_scope)

    async def _copy(
        self, source: SocketStream, sink: SocketStream, both: anyio.CancelScope
    ) -> None:
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            while True:
                await self._flows.wait()
                await sink.send(await source.receive())
        both.cancel()


@asynccontextmanager
async def relay(server: int, host: str = "127.0.0.1") -> AsyncIterator[Line]:
    """A line to the server on port `server` of a loopback address."""
    async with (
        await anyio.create_tcp_listener(local_host=host) as listener,
        anyio.create_task_group() as group,
    ):
        line = Line(listener.extra(SocketAttribute.local_port), host)

        async def carry(near: SocketStream) -> None:
            await line.carry(near, server)

        group.start_soon(listener.serve, carry)
        yield line
        group.cancel_scope.cancel()
