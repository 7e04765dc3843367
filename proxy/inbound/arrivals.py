"""Connections to the workload: from peers by mutual TLS, from others as they come.

A connection that was meant for the inbound port itself comes from a peer: TLS with a client
certificate, then the transport header, or nothing. A connection that was meant for any other port was
redirected here: its protocol is detected, and it is never decrypted.
"""

import asyncio
import functools
import logging
from collections.abc import Callable

from common.clock import Clock
from common.errors import MeshError
from common.latest import Latest
from common.log import fields
from common.names import Identity
from common.x509 import peer_identity
from proxy.codec.frames import DEFAULT_WINDOW
from proxy.control.certify import Held
from proxy.control.policy import Policy
from proxy.inbound.caller import Caller
from proxy.inbound.requests import Requests
from proxy.inbound.streams import Streams
from proxy.observe.counters import Counters
from proxy.refusals import Refusal
from proxy.session.carrier import Carrier
from proxy.session.detector import Detector
from proxy.session.errands import Spawner
from proxy.session.sessions import Sessions
from proxy.settings import Settings, split_listen
from proxy.transport import header
from proxy.transport.accept import Arrival, Listener
from proxy.transport.connect import Connector
from proxy.transport.detect import Protocol
from proxy.transport.sealed import Sealed
from proxy.transport.stream import Stream, pause
from proxy.transport.sweep import NEVER, Sweep
from proxy.transport.tls import Tls

log = logging.getLogger(__name__)

IDLE_SECONDS = 3.0
"""A connection to the application is kept warm for so long: servers commonly close theirs after five."""
HANDSHAKE_SECONDS = 10.0
"""From the connection to the end of the transport header."""
RECEIVE_BUFFER = 2 * DEFAULT_WINDOW
"""Bytes of a response that may come from the application at once: what its stream's window does not take
waits in our memory, so that more would fill it when many responses are large and their client is slow."""


class Inbound:
    """The inbound side of the proxy."""

    def __init__(
        self,
        settings: Settings,
        *,
        group: Spawner,
        sweep: Sweep,
        policy: Policy,
        credentials: Latest[Held | None],
        counters: Counters,
        clock: Clock,
        learned: Callable[[int], None],
    ) -> None:
        host, port = split_listen(settings.inbound_listen)
        connector = Connector(settings.mark, settings.inbound_connect_seconds)
        self.sessions = Sessions()
        self._sealed = Sealed()
        self.carrier = Carrier(group, sweep, IDLE_SECONDS)
        to_application = Connector(
            settings.mark, settings.inbound_connect_seconds, receive_buffer=RECEIVE_BUFFER
        )
        self._requests = Requests(self.carrier, to_application, self.sessions, sweep, counters)
        self._streams = Streams(connector, learned)
        self._policy = policy
        self._credentials = credentials
        self._counters = counters
        self._clock = clock
        self._group = group
        self._sweep = sweep
        self._port = port
        self.listener = Listener(
            host,
            port,
            limit=settings.max_connections,
            arrived=self._arrived,
            refused=self._refused,
        )

    @property
    def open(self) -> int:
        """Connections from clients that are open now."""
        return self.listener.open

    async def start(self) -> None:
        """Listen; raises OSError."""
        await self.listener.start()

    @property
    def arrived_at(self) -> float:
        """When the last connection came; loop time, seconds."""
        return self.listener.arrived_at

    async def drain(self) -> None:
        """Take no new connections, and let those that are open end."""
        await self.listener.stop()
        self.sessions.drain()

    def retire_before(self, revision: int) -> None:
        """Let sessions of peers that began under an older trust bundle end, once nothing is on its way."""
        self.sessions.drain_before(revision)

    def cut_before(self, revision: int) -> int:
        """End what is left of them now; says how many connections that were."""
        return self._sealed.abort_before(revision)

    def cut_off(self, error: Refusal) -> None:
        """End what is open; requests without a response get this one."""
        self.sessions.cut_off(error)
        self.listener.abort()

    async def empty(self) -> None:
        """Wait until no connection from clients is open."""
        await self.listener.empty()

    def _refused(self) -> None:
        self._counters.refused_connections += 1

    def _arrived(self, arrival: Arrival) -> None:
        if arrival.original is None or arrival.original[1] == self._port:
            self._shake_hands(arrival)
            return
        caller = self._caller(arrival, None, arrival.original[1])
        stream = arrival.transport
        if self._policy.is_opaque(arrival.original[1]):
            self._group.start_soon(self._streams.serve, stream, caller, b"")
        else:
            found = functools.partial(self._found, stream, caller)
            quiet = functools.partial(self._quiet, stream, caller)
            Detector(stream, self._sweep, found, arrival.left, quiet).start()

    def _caller(self, arrival: Arrival, identity: Identity | None, port: int) -> Caller:
        host = (arrival.original or arrival.local)[0]
        return Caller(
            identity,
            arrival.peer[0],
            (host, port),
            self._policy.default,
            self._counters,
            arrival.left,
        )

    def _quiet(self, stream: Stream, caller: Caller, detector: Detector) -> None:
        self._group.start_soon(self._streams.listen_ahead, stream, caller, detector)

    def _found(self, stream: Stream, caller: Caller, protocol: Protocol, early: bytes) -> None:
        if protocol is not Protocol.TCP:
            self._requests.start(stream, caller, protocol, early)
        else:
            self._group.start_soon(self._streams.serve, stream, caller, early)

    def _shake_hands(self, arrival: Arrival) -> None:
        held = self._credentials.value
        if held is None or not held.valid(self._clock.now()):
            self._reject(arrival, "no certificate to show" if held is None else "ours has expired")
            return
        greeting = _Greeting(self, arrival)
        tls = Tls(held.server_context, greeting.ready)
        self._sealed.add(tls, held.trust_revision)
        greeting.stream = tls
        self._sweep.add(greeting)
        arrival.transport.set_protocol(tls)
        tls.connection_made(arrival.transport)
        arrival.transport.resume_reading()

    def _reject(self, arrival: Arrival, why: object) -> None:
        self._counters.rejected_transports += 1
        log.info("peer refused", extra=fields(peer=arrival.peer[0], why=why))
        arrival.transport.abort()
        arrival.left()

    def rejected(self, greeting: "_Greeting", why: object) -> None:
        """A peer did not get as far as the end of its transport header."""
        self._sweep.discard(greeting)
        self._reject(greeting.arrival, why)

    def greeted(
        self, greeting: "_Greeting", identity: Identity, port: int, protocol: Protocol, early: bytes
    ) -> None:
        """A peer has proven who it is and said what it wants."""
        self._sweep.discard(greeting)
        if port == self._port:
            self._reject(greeting.arrival, "it asked for the inbound port itself")
            return
        caller = self._caller(greeting.arrival, identity, port)
        assert greeting.stream is not None
        pause(greeting.stream)
        self._found(greeting.stream, caller, protocol, early)


class _Greeting(asyncio.Protocol):
    """A peer's handshake and transport header."""

    def __init__(self, inbound: Inbound, arrival: Arrival) -> None:
        self.arrival = arrival
        self.stream: Tls | None = None
        self.deadline = asyncio.get_running_loop().time() + HANDSHAKE_SECONDS
        self._inbound = inbound
        self._identity: Identity | None = None
        self._head = b""
        self._done = False

    def ready(self, tls: Tls, error: Exception | None) -> None:
        """The handshake is over."""
        if error is not None:
            self._reject(error)
            return
        self._identity = peer_identity(tls.ssl_object)
        if self._identity is None:
            self._reject("its certificate names no workload")
        elif tls.ssl_object.selected_alpn_protocol() != header.ALPN:
            self._reject(f"it does not speak {header.ALPN}")
        else:
            tls.set_protocol(self)

    def data_received(self, data: bytes) -> None:
        """Bytes of the header, and perhaps of what follows."""
        self._head += data
        try:
            found = header.read(self._head)
        except MeshError as error:
            self._reject(error)
            return
        if found is not None and not self._done:
            self._done = True
            self.deadline = NEVER
            assert self._identity is not None
            port, protocol, length = found
            self._inbound.greeted(self, self._identity, port, protocol, self._head[length:])

    def eof_received(self) -> bool:
        """It left early."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """It left early."""
        self._reject(error or "closed before its transport header")

    def expired(self) -> None:
        """It takes too long."""
        self._reject("handshake takes too long")

    def _reject(self, why: object) -> None:
        if not self._done:
            self._done = True
            self.deadline = NEVER
            self._inbound.rejected(self, why)
