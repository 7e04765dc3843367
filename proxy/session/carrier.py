"""Takes an exchange to where it is to go: over a warm connection, or a new one."""

from collections.abc import Awaitable, Callable, Hashable, Sequence

from common.errors import MeshError
from proxy.codec.heads import Headers
from proxy.refusals import ConnectFailed, NotProcessed, Overloaded, Refusal, ResponseLost
from proxy.session.errands import Spawner
from proxy.session.exchange import Exchange
from proxy.session.http1_client import Http1Client
from proxy.session.http2_client import Http2Client
from proxy.session.pool import Pool
from proxy.transport.stream import Stream
from proxy.transport.sweep import Sweep

REPEATS = 2
"""An exchange is sent again so often at most."""
OPENING_LIMIT = 1024
"""Exchanges that may wait for connections to one endpoint."""


class Way:
    """How exchanges get to one endpoint."""

    __slots__ = ("elsewhere", "extra", "failed", "key", "multiplexed", "open", "sessions")

    def __init__(
        self,
        key: Hashable,
        open_new: Callable[[], Awaitable[Stream]],
        failed: Callable[[Exchange, Refusal], None],
        extra: Headers | tuple[()] = (),
        *,
        multiplexed: bool,
        elsewhere: Callable[[Exchange, Refusal], None] | None = None,
    ) -> None:
        self.key = key
        """Ways with the same key share their connections."""
        self.open = open_new
        """Makes a connection; raises Refusal."""
        self.failed = failed
        """Told if no connection can be made; the exchange is as it was before."""
        self.elsewhere = elsewhere
        """Told if an exchange that was sent is to be sent again, where that need not be the same way."""
        self.extra = extra
        """Fields that every request gets on this way."""
        self.multiplexed = multiplexed
        """HTTP/2: many exchanges at a time over one connection. Else HTTP/1.1: one after the other."""
        self.sessions: Sequence[Http2Client] = ()
        """The connections, where they were last found; if there is none, there may be others."""

    def __repr__(self) -> str:
        return f"<Way {self.key} {'http/2' if self.multiplexed else 'http/1.1'}>"


class Carrier:
    """Carries exchanges; keeps HTTP/1.1 connections warm for `idle_seconds`."""

    def __init__(self, group: Spawner, sweep: Sweep, idle_seconds: float) -> None:
        self._group = group
        self._sweep = sweep
        self._pool = Pool(idle_seconds)
        self._sessions: dict[Hashable, list[Http2Client]] = {}
        self._opening: dict[Hashable, list[tuple[Exchange, Way]]] = {}
        self._clients: dict[Hashable, set[Http1Client]] = {}
        """Every HTTP/1.1 connection, warm or in use."""
        self._retry = self._again
        self._retry_untouched = self._again_if_untouched

    @property
    def idle(self) -> int:
        """How many HTTP/1.1 connections are warm."""
        return len(self._pool)

    @property
    def sessions(self) -> int:
        """How many HTTP/2 connections are open."""
        return sum(map(len, self._sessions.values()))

    def carry(self, exchange: Exchange, way: Way) -> None:
        """Send the exchange on its way.

        What an endpoint has not looked at is sent again, and so is what can be repeated and was lost on a
        connection that had been used before; REPEATS times at most.
        """
        exchange.way = way
        if way.multiplexed:
            for session in way.sessions or self._find(way):
                if session.usable:
                    exchange.retry = self._retry
                    session.carry(exchange, way.extra)
                    return
            self._wait(exchange, way)
            return
        # Where one warm connection was dead, the next may be, too.
        client = None if exchange.repeats else self._pool.take(way.key)
        if client is None:
            exchange.retry = None
            self._group.start_soon(self._carry_anew, exchange, way)
        else:
            exchange.retry = self._retry
            client.begin(exchange, way.extra)

    def retire(self, key: Hashable) -> None:
        """Nothing is to go to this endpoint any more: each connection closes when nothing is on its way."""
        for client in list(self._clients.get(key, ())):
            client.drain()
        for session in list(self._sessions.get(key, ())):
            session.drain()

    def retire_all(self) -> None:
        """The same for every endpoint."""
        for key in (*self._clients, *self._sessions):
            self.retire(key)

    def retire_before(self, revision: int) -> None:
        """The same for connections with mutual TLS that began under an older trust bundle."""
        every: list[Http1Client | Http2Client] = []
        for clients in self._clients.values():
            every += clients
        for sessions in self._sessions.values():
            every += sessions
        for connection in every:
            if connection.began_before(revision):
                connection.drain()

    def _again(self, exchange: Exchange, error: MeshError) -> bool:
        # RFC 9112 §9.3.1: a server may close an idle connection just as a request is sent on it.
        if isinstance(error, ResponseLost) and exchange.repeatable:
            return self._repeat(exchange, error)
        return self._again_if_untouched(exchange, error)

    def _again_if_untouched(self, exchange: Exchange, error: MeshError) -> bool:
        # RFC 9113 §8.7: then even what is not idempotent can be sent again.
        if isinstance(error, NotProcessed | ConnectFailed) and exchange.replayable:
            return self._repeat(exchange, error)
        return False

    def _repeat(self, exchange: Exchange, error: Refusal) -> bool:
        way = exchange.way
        assert isinstance(way, Way)
        if exchange.repeats >= REPEATS:
            return False
        exchange.rewind()
        if way.elsewhere is None:
            self.carry(exchange, way)
        else:
            way.elsewhere(exchange, error)
        return True

    async def _carry_anew(self, exchange: Exchange, way: Way) -> None:
        if exchange.done:
            # Its client has left already: those who only do that are to cost no connections.
            return
        try:
            stream = await way.open()
        except Refusal as error:
            way.failed(exchange, error)
            return
        clients = self._clients.setdefault(way.key, set())

        def lost(client: Http1Client) -> None:
            self._pool.forget(way.key, client)
            clients.discard(client)
            if not clients and self._clients.get(way.key) is clients:
                del self._clients[way.key]

        client = Http1Client(
            stream, self._sweep, lambda client: self._pool.give(way.key, client), lost
        )
        clients.add(client)
        if exchange.done:
            self._pool.give(way.key, client)
        else:
            client.begin(exchange, way.extra)

    def _find(self, way: Way) -> Sequence[Http2Client]:
        """The sessions that go this way; the list is kept up to date until it is empty."""
        way.sessions = self._sessions.get(way.key, ())
        return way.sessions

    def _wait(self, exchange: Exchange, way: Way) -> None:
        """Let it wait for a new session."""
        waiting = self._opening.get(way.key)
        if waiting is None:
            self._opening[way.key] = [(exchange, way)]
            self._group.start_soon(self._open_session, way)
        elif len(waiting) < OPENING_LIMIT:
            waiting.append((exchange, way))
        else:
            exchange.refuse(Overloaded(f"{len(waiting)} requests wait for a connection"))

    async def _open_session(self, way: Way) -> None:
        try:
            stream = await way.open()
        except Refusal as error:
            for exchange, its_way in self._opening.pop(way.key):
                its_way.failed(exchange, error)
            return
        except Exception:
            # A fault of our own; whoever waits must not wait for ever.
            for exchange, its_way in self._opening.pop(way.key):
                its_way.failed(exchange, ConnectFailed("a fault of the proxy's own"))
            raise
        sessions = self._sessions.setdefault(way.key, [])

        def lost(session: Http2Client) -> None:
            sessions.remove(session)
            if not sessions and self._sessions.get(way.key) is sessions:
                del self._sessions[way.key]

        session = Http2Client(stream, self._sweep, lost)
        sessions.append(session)
        for exchange, its_way in self._opening.pop(way.key):
            if exchange.done:
                continue
            exchange.retry = self._retry_untouched
            if session.usable:
                session.carry(exchange, its_way.extra)
            else:
                self.carry(exchange, its_way)
