"""Connections from the application: where each is going, and what it speaks."""

import functools

from common.clock import Clock
from common.contract.discovery import Endpoint
from common.latest import Latest
from proxy.codec.heads import BadMessage, ResponseHead
from proxy.control.certify import Held
from proxy.control.discovery import Backend, Discovery, Passthrough, Target
from proxy.observe.counters import Counters
from proxy.outbound.forward import Forward
from proxy.outbound.reach import Reach, connections_to
from proxy.outbound.requests import Requests
from proxy.outbound.streams import Streams
from proxy.refusals import NoRoute, Refusal
from proxy.session.carrier import Carrier
from proxy.session.detector import Detector
from proxy.session.errands import Spawner
from proxy.session.exchange import Exchange
from proxy.session.host import Server
from proxy.session.http1_server import Http1Server
from proxy.session.http2_server import Http2Server
from proxy.session.sessions import Sessions
from proxy.settings import Settings, split_listen
from proxy.transport.accept import Arrival, Listener, start_all
from proxy.transport.connect import Connector
from proxy.transport.detect import Protocol
from proxy.transport.original_dst import Address
from proxy.transport.sweep import Sweep

_DECLARED = {"http1": Protocol.HTTP1, "http2": Protocol.HTTP2}
IDLE_SECONDS = 30.0
"""A connection to an endpoint is kept warm for so long."""


class Outbound:
    """The outbound side of the proxy."""

    def __init__(
        self,
        settings: Settings,
        *,
        group: Spawner,
        sweep: Sweep,
        discovery: Discovery,
        credentials: Latest[Held | None],
        counters: Counters,
        clock: Clock,
    ) -> None:
        connector = Connector(settings.mark, settings.outbound_connect_seconds)
        reach = Reach(connector, credentials, counters, clock)
        listens = [split_listen(text) for text in settings.outbound_listen]
        self._reach = reach
        self.carrier = Carrier(group, sweep, IDLE_SECONDS)
        self.sessions = Sessions()
        self.requests = Requests(self.carrier, reach)
        self.streams = Streams(reach, connector)
        self.discovery = discovery
        discovery.on_left = self._retire
        self.forward = Forward(
            discovery, settings.namespace, settings.cluster_domain, frozenset(listens)
        )
        self.counters = counters
        self.group = group
        self.sweep = sweep
        self.listeners = [
            Listener(
                host,
                port,
                limit=settings.max_connections,
                arrived=self._arrived,
                refused=self._refused,
            )
            for host, port in listens
        ]

    @property
    def open(self) -> int:
        """Connections from the application that are open now."""
        return sum(listener.open for listener in self.listeners)

    async def start(self) -> None:
        """Listen, on those of our addresses that this machine has; raises OSError."""
        self.listeners = await start_all(self.listeners)

    async def drain(self) -> None:
        """Take no new connections, and let those that are open end."""
        for listener in self.listeners:
            await listener.stop()
        self.sessions.drain()

    def retire_before(self, revision: int) -> None:
        """Let sessions with peers that began under an older trust bundle end, once nothing is on its way."""
        self.carrier.retire_before(revision)

    def cut_before(self, revision: int) -> int:
        """End what is left of them now; says how many connections that were."""
        return self._reach.sealed.abort_before(revision)

    def cut_off(self, error: Refusal) -> None:
        """End what is open; requests without a response get this one."""
        self.sessions.cut_off(error)
        for listener in self.listeners:
            listener.abort()

    async def empty(self) -> None:
        """Wait until no connection from the application is open."""
        for listener in self.listeners:
            await listener.empty()

    def _retire(self, endpoint: Endpoint, port: int) -> None:
        """Discovery says that an endpoint left: what is on its way there is finished, and no more."""
        for protocol in (Protocol.HTTP1, Protocol.HTTP2):
            self.carrier.retire((connections_to(endpoint, port), protocol))

    def _refused(self) -> None:
        self.counters.refused_connections += 1

    def _arrived(self, arrival: Arrival) -> None:
        if arrival.original is None:
            ForwardClient(self, arrival, Protocol.HTTP1).start()
            return
        target = self.discovery.lookup(*arrival.original)
        if target is None:
            self.group.start_soon(self._resolve, arrival, arrival.original)
        else:
            self._route(arrival, arrival.original, target)

    async def _resolve(self, arrival: Arrival, original: Address) -> None:
        self._route(arrival, original, await self.discovery.resolve(*original))

    def _route(self, arrival: Arrival, original: Address, target: Target) -> None:
        stream, left = arrival.transport, arrival.left
        if isinstance(target, Passthrough):
            self.group.start_soon(self.streams.to_address, stream, b"", original, left)
        elif target.opaque:
            self.group.start_soon(self.streams.to_backend, stream, b"", target, left)
        elif target.hint in _DECLARED:
            self._found(arrival, original, target, _DECLARED[target.hint], b"")
        else:
            found = functools.partial(self._found, arrival, original, target)
            quiet = functools.partial(self._quiet, arrival, target)
            Detector(stream, self.sweep, found, left, quiet).start()

    def _quiet(self, arrival: Arrival, backend: Backend, detector: Detector) -> None:
        stream, left = arrival.transport, arrival.left
        self.group.start_soon(self.streams.listen_ahead, stream, backend, left, detector)

    def _found(
        self,
        arrival: Arrival,
        original: Address,
        backend: Backend,
        protocol: Protocol,
        early: bytes,
    ) -> None:
        if protocol is not Protocol.TCP:
            InterceptedClient(self, arrival, original, protocol).start(early)
        else:
            self.group.start_soon(
                self.streams.to_backend, arrival.transport, early, backend, arrival.left
            )


class _Client:
    """One HTTP connection from the application: the Host of its session."""

    def __init__(self, outbound: Outbound, arrival: Arrival, protocol: Protocol) -> None:
        self.outbound = outbound
        self.arrival = arrival
        self.protocol = protocol

    def start(self, early: bytes = b"") -> None:
        """Begin, with what was read already."""
        # The session knows us, but not we the session: nobody need look for a circle when both go.
        kind = Http2Server if self.protocol is Protocol.HTTP2 else Http1Server
        server: Http1Server | Http2Server = kind(self.arrival.transport, self, self.outbound.sweep)
        self.outbound.sessions.add(server)
        server.start(early)

    def serve(self, exchange: Exchange) -> None:
        """Carry out a request."""
        raise NotImplementedError

    def rejected(self, error: BadMessage) -> None:
        """The application sent what is not HTTP."""
        self.outbound.counters.rejected("outbound", error.word)

    def closed(self, server: Server, *, detached: bool) -> None:
        """The session is over; a tunnel may hold the connection still."""
        self.outbound.sessions.discard(server)
        if not detached:
            self.arrival.left()

    def tunnel_closed(self) -> None:
        """The tunnel is over."""
        self.arrival.left()


class InterceptedClient(_Client):
    """An application that connected to an address: all its requests go there."""

    def __init__(
        self, outbound: Outbound, arrival: Arrival, original: Address, protocol: Protocol
    ) -> None:
        super().__init__(outbound, arrival, protocol)
        self.original = original
        self._lookup = outbound.discovery.lookup

    def serve(self, exchange: Exchange) -> None:
        """Carry out a request; where to is asked each time, because that may change meanwhile."""
        host, port = self.original
        target = self._lookup(host, port)
        request = exchange.request
        if not request.authority:
            exchange.request = request.replaced(authority=f"{host}:{port}".encode())
        if request.manner == "tunnel" and request.protocol != "http/1.1":
            exchange.refuse(NoRoute("a stream of HTTP/2 cannot be a tunnel here"))
        elif isinstance(target, Backend):
            self.outbound.requests.serve(exchange, target)
        else:
            self.outbound.group.start_soon(self._resolve, exchange)

    async def _resolve(self, exchange: Exchange) -> None:
        target = await self.outbound.discovery.resolve(*self.original)
        if isinstance(target, Passthrough):
            target = self.outbound.forward.outside(*self.original)
        if not exchange.done:
            self.outbound.requests.serve(exchange, target)


class ForwardClient(_Client):
    """An application that uses the proxy by name: each request says where it goes."""

    def serve(self, exchange: Exchange) -> None:
        """Carry out a request."""
        request = exchange.request
        if request.method == b"CONNECT":
            self.outbound.group.start_soon(self._connect, exchange)
            return
        if not request.absolute:
            exchange.refuse(BadMessage("not-a-proxy-request"))
            return
        onward = request.onward
        if onward is None:
            onward = request.onward = request.replaced(absolute=False)
        exchange.request = onward
        backend = self.outbound.forward.lookup(request.authority, 80)
        if backend is None:
            self.outbound.group.start_soon(self._resolve, exchange)
        else:
            self.outbound.requests.serve(exchange, backend)

    async def _resolve(self, exchange: Exchange) -> None:
        try:
            backend = await self.outbound.forward.resolve(exchange.request.authority, 80)
        except Refusal as error:
            exchange.refuse(error)
            return
        if not exchange.done:
            self.outbound.requests.serve(exchange, backend)

    async def _connect(self, exchange: Exchange) -> None:
        """Open a tunnel; what goes through it is opaque."""
        try:
            backend = await self.outbound.forward.resolve(exchange.request.authority, 443)
        except Refusal as error:
            exchange.refuse(error)
            return
        if exchange.done:
            return
        stream, early = exchange.tunnel(ResponseHead(200, []), 0.0)
        await self.outbound.streams.to_backend(stream, early, backend, self.arrival.left)
