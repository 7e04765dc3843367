"""How an endpoint is reached: through its proxy with mutual TLS, or in the clear if it has none."""

from collections.abc import Hashable

from common.clock import Clock
from common.contract.discovery import Endpoint
from common.contract.telemetry import Peer
from common.errors import InvalidName
from common.latest import Latest
from common.names import Identity
from proxy.control.certify import Held
from proxy.control.discovery import Backend
from proxy.decide.candidate import Candidate
from proxy.observe.counters import Counter, Counters
from proxy.refusals import NoIdentity, TlsFailed
from proxy.transport import header
from proxy.transport.connect import Connector
from proxy.transport.detect import Protocol
from proxy.transport.sealed import Sealed
from proxy.transport.stream import Stream

NOT_MESHED = "not-meshed"
NOT_IN_MESH = "not-in-mesh"


class Reach:
    """Opens connections to candidates, and knows the counters for each."""

    def __init__(
        self,
        connector: Connector,
        credentials: Latest[Held | None],
        counters: Counters,
        clock: Clock,
    ) -> None:
        self.sealed = Sealed()
        """The connections with mutual TLS that were opened."""
        self._connector = connector
        self._credentials = credentials
        self._counters = counters
        self._clock = clock
        self.monotonic = clock.monotonic
        """Seconds on the clock that balancers use."""

    def key(self, candidate: Candidate) -> Hashable:
        """What connections to this candidate have in common; they can stand in for each other."""
        key = candidate.notes.get("key")
        if key is None:
            key = candidate.notes["key"] = connections_to(candidate.endpoint, candidate.port)
        return key

    async def open(self, candidate: Candidate, protocol: Protocol) -> Stream:
        """A connection on which `protocol` can be spoken; reading is paused.

        Raises ConnectFailed, TlsFailed, or NoIdentity: a meshed endpoint is never spoken to in the
        clear because we happen to have no certificate.
        """
        endpoint = candidate.endpoint
        if not is_meshed(candidate):
            return await self._connector.plain(endpoint.address, candidate.port)
        held = self._credentials.value
        if held is None:
            raise NoIdentity("no certificate")
        if not held.valid(self._clock.now()):
            raise NoIdentity("the certificate has expired")
        assert endpoint.proxy_port is not None
        try:
            name = Identity.parse(endpoint.identity).dns_name
        except InvalidName as error:
            raise TlsFailed(f"discovery names no identity: {error}") from None
        stream = await self._connector.mutual_tls(
            endpoint.address, endpoint.proxy_port, held.client_context, name
        )
        self.sealed.add(stream, held.trust_revision)
        stream.write(header.write(candidate.port, protocol))
        return stream

    def counter(self, backend: Backend, candidate: Candidate, protocol: str) -> Counter:
        """What is counted for this candidate behind this backend."""
        # A candidate is one backend's, so the protocol is all that can differ.
        counter = candidate.notes.get(("counter", protocol))
        if not isinstance(counter, Counter) or counter.forgotten:
            meshed = is_meshed(candidate)
            peer = peer_of(backend, candidate, meshed=meshed)
            counter = self._counters.series(
                "outbound", peer, protocol, "" if meshed else NOT_MESHED
            )
            candidate.notes["counter", protocol] = counter
        return counter

    def untracked(self, backend: Backend, protocol: str) -> Counter:
        """What is counted for a backend when no endpoint was chosen."""
        peer = Peer(service=backend.service, port=backend.port)
        return self._counters.series("outbound", peer, protocol, "no-endpoint")

    def passed(self, address: str, port: int) -> Counter:
        """What is counted for traffic that is passed through."""
        return self._counters.series(
            "outbound", Peer(address=address, port=port), "tcp", NOT_IN_MESH
        )


def connections_to(endpoint: Endpoint, port: int) -> Hashable:
    """What connections to this port of this endpoint have in common."""
    return endpoint.address, port, endpoint.identity, endpoint.proxy_port


def is_meshed(candidate: Candidate) -> bool:
    """Whether the endpoint has a proxy that can prove who it is."""
    return bool(candidate.endpoint.identity) and candidate.endpoint.proxy_port is not None


def peer_of(backend: Backend, candidate: Candidate, *, meshed: bool) -> Peer:
    """The other end as reports name it."""
    endpoint = candidate.endpoint
    return Peer(
        service=backend.service,
        port=backend.port,
        workload=endpoint.workload,
        namespace=endpoint.namespace,
        owner=endpoint.owner,
        identity=endpoint.identity if meshed else "",
        address="" if endpoint.workload else endpoint.address,
    )
