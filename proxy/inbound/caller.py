"""Who is asking, for which port of the application, and whether that is allowed."""

from collections.abc import Callable

from common.contract.discovery import DefaultPolicy
from common.contract.telemetry import Peer
from common.names import Identity
from proxy.decide.authorize import authorize
from proxy.observe.counters import Counter, Counters
from proxy.refusals import Unauthorized
from proxy.transport.original_dst import Address

NO_TLS = "no-tls-from-remote"


class Caller:
    """One client connection."""

    __slots__ = (
        "_admitted_by",
        "_counted",
        "_counters",
        "_policy",
        "address",
        "identity",
        "left",
        "target",
    )

    def __init__(
        self,
        identity: Identity | None,
        address: str,
        target: Address,
        policy: Callable[[], DefaultPolicy],
        counters: Counters,
        left: Callable[[], None],
    ) -> None:
        self.identity = identity
        """Proven in the handshake; None without one."""
        self.address = address
        self.target = target
        """The application's address and port."""
        self.left = left
        self._policy = policy
        self._admitted_by: DefaultPolicy | None = None
        self._counters = counters
        self._counted: dict[str, Counter] = {}

    def refusal(self) -> Unauthorized | None:
        """Why it may not, by the policy in force now; None if it may."""
        policy = self._policy()
        if policy == self._admitted_by:
            return None
        refusal = authorize(policy, self.identity, self.address)
        self._admitted_by = None if refusal else policy
        return refusal

    def counter(self, protocol: str) -> Counter:
        """What is counted for it."""
        counter = self._counted.get(protocol)
        if counter is None or counter.forgotten:
            identity = self.identity
            peer = Peer(
                port=self.target[1],
                identity=str(identity or ""),
                namespace=identity.namespace if identity else "",
                address="" if identity else self.address,
            )
            reason = "" if identity else NO_TLS
            counter = self._counters.series("inbound", peer, protocol, reason)
            self._counted[protocol] = counter
        return counter
