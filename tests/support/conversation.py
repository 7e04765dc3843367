"""A client and an endpoint in the test's hands, and the proxy's sessions between them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup

from proxy.codec.heads import BadMessage
from proxy.refusals import ConnectFailed, Refusal, Unauthorized
from proxy.session.carrier import Carrier, Way
from proxy.session.exchange import Exchange
from proxy.session.host import Server
from proxy.session.http1_server import Http1Server
from proxy.transport.stream import Stream
from proxy.transport.sweep import Sweep
from tests.support.streams import MemoryStream

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Conversation:
    """One client connection on an Http1Server whose requests go to one endpoint over Http1Client."""

    def __init__(self, group: TaskGroup, sweep: Sweep) -> None:
        self.client = MemoryStream()
        self.sweep = sweep
        self.carrier = Carrier(group, sweep, idle_seconds=30.0)
        self.endpoints: list[MemoryStream] = []
        """Connections that were made to the endpoint, in order."""
        self.unauthorized = False
        """Requests are refused at once."""
        self.unreachable = False
        """No connection can be made to the endpoint."""
        self.endpoint_reads = True
        """The endpoint reads what it is sent as soon as it is connected."""
        self.born_dead = False
        """Connections to the endpoint break before they are handed over."""
        self.slow_to_connect: anyio.Event | None = None
        """Connections to the endpoint take until this is set."""
        self.exchanges: list[Exchange] = []
        self.ended: list[Exchange] = []
        self.rejections: list[str] = []
        self.sessions_closed = 0
        self.tunnels_closed = 0
        self._way = Way("endpoint", self._open, _not_connected, multiplexed=False)
        self.server = Http1Server(self.client, self, sweep)
        self.server.start()

    @property
    def endpoint(self) -> MemoryStream:
        """The connection to the endpoint that was made last."""
        return self.endpoints[-1]

    async def hears(self, *pieces: bytes) -> None:
        """The client sends; returns when nothing more comes of it."""
        self.client.hears(*pieces)
        await settled()

    async def answers(self, *pieces: bytes) -> None:
        """The endpoint sends."""
        self.endpoint.hears(*pieces)
        await settled()

    def says(self) -> bytes:
        """What the client was told since it was asked last."""
        return self.client.says()

    def passes_on(self) -> bytes:
        """What the endpoint was sent since it was asked last; nothing if it was not even connected to."""
        return self.endpoint.says() if self.endpoints else b""

    async def expire(self, seconds: float) -> None:
        """Look at deadlines as they will be seen in so many seconds."""
        self.sweep.look(asyncio.get_running_loop().time() + seconds)
        await settled()

    # The Host of the server session.

    def serve(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)
        exchange.ended = self.ended.append
        if self.unauthorized:
            exchange.refuse(Unauthorized("test"))
            return
        self.carrier.carry(exchange, self._way)

    def rejected(self, error: BadMessage) -> None:
        self.rejections.append(error.word)

    def closed(self, server: Server, *, detached: bool) -> None:
        self.sessions_closed += 1

    def tunnel_closed(self) -> None:
        self.tunnels_closed += 1

    async def _open(self) -> Stream:
        if self.slow_to_connect is not None:
            await self.slow_to_connect.wait()
        if self.unreachable:
            raise ConnectFailed("endpoint")
        self.endpoints.append(MemoryStream())
        if not self.endpoint_reads:
            self.endpoint.stops_reading()
        if self.born_dead:
            self.endpoint.breaks()
            await settled()
        return self.endpoint


def _not_connected(exchange: Exchange, error: Refusal) -> None:
    exchange.refuse(error)


async def settled() -> None:
    """Let the loop turn until whatever was set going has come to rest."""
    for _ in range(12):
        await asyncio.sleep(0)


@asynccontextmanager
async def conversation() -> AsyncIterator[Conversation]:
    """A conversation that has just begun; afterwards every exchange must have ended exactly once."""
    sweep = Sweep()
    async with anyio.create_task_group() as group:
        talk = Conversation(group, sweep)
        yield talk
        talk.client.breaks()
        for endpoint in talk.endpoints:
            endpoint.breaks()
        await settled()
        group.cancel_scope.cancel()
    assert sorted(map(id, talk.ended)) == sorted(map(id, talk.exchanges))
    assert not len(sweep)
