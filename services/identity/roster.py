"""Who is there, and what each has acknowledged: from NATS's connections and from what is heard on the bus."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TypeVar

from common.clock import Clock
from common.contract.events import Ack, Lifecycle, ShownLeaf
from common.contract.identity import TrustBundle
from common.contract.subjects import ack as acks
from common.contract.subjects import lifecycle, role_ack, trust
from common.errors import InvalidName
from common.names import WorkloadName
from common.x509 import first_of, key_id, load_certificates

SILENT_SECONDS = 35.0
"""Acknowledgements are repeated every ten seconds: who has said nothing for so long is silent."""
MOST = 100_000
"""So many names are remembered; of more, those that were heard of last."""
_SERVICE = "_/"
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Heard:
    """What somebody acknowledged last, and when: on the monotonic clock, and in seconds since the epoch."""

    revision: int
    leaf: ShownLeaf | None
    at: float
    time: float
    version: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What everybody is to have in force: a revision of the bundle, and a leaf below the anchor that signs."""

    revision: int
    signing: str
    anchors: tuple[str, ...]

    @classmethod
    def of(cls, bundle: TrustBundle, revision: int) -> "Wanted":
        """What a bundle that was published as `revision` asks of everybody."""
        anchors = load_certificates("".join(bundle.anchors).encode())
        return cls(revision, bundle.signing, tuple(key_id(anchor) for anchor in anchors))


@dataclass(frozen=True, slots=True)
class Standing:
    """Who has what is wanted, and why the others have not."""

    current: frozenset[str] = frozenset()
    waiting: dict[str, str] = field(default_factory=dict)


class Roster:
    """Everybody who was heard of since the start, `most` at most. Of a service each replica counts."""

    def __init__(self, clock: Clock, most: int = MOST) -> None:
        self._clock = clock
        self._most = most
        self._heard: dict[str, dict[str, Heard]] = {}
        """By name, those heard last at the end, as in the following."""
        self._came: dict[str, float] = {}
        """When somebody said last that a phase of life begins, on the monotonic clock."""
        self._connected: frozenset[str] = frozenset()
        self._departed: dict[str, None] = {}

    @property
    def departed(self) -> frozenset[str]:
        """Who has stopped, in good order, or is known to be no more, and was not heard of since."""
        return frozenset(self._departed)

    def hear(self, subject: str, ack: Ack) -> None:
        """Somebody said what is in force; the bus vouches for the subject, and for nothing else."""
        name = f"{ack.namespace}/{ack.workload}"
        if subject != _where(name):
            return
        now = self._clock.monotonic()
        revision = ack.revisions.get(trust().subject, 0)
        heard = Heard(revision, ack.leaf, now, self._clock.now(), ack.version)
        replicas = {ack.uid: heard}
        if name.startswith(_SERVICE):
            replicas = _lately(self._heard.get(name, {}), now) | replicas
        self._remember(self._heard, name, replicas)
        self._departed.pop(name, None)

    def enter(self, subject: str, event: Lifecycle) -> None:
        """Somebody entered a phase of life: has come, or stopped in good order; as `hear`."""
        name = f"{event.namespace}/{event.workload}"
        if subject != _where_entered(event):
            return
        if event.phase == "stopped":
            self.depart(name)
        else:
            self._remember(self._came, name, self._clock.monotonic())
            self._departed.pop(name, None)

    def depart(self, name: str) -> None:
        """It is known from elsewhere that somebody is no more; heard of again, they are back."""
        self._heard.pop(name, None)
        self._came.pop(name, None)
        self._remember(self._departed, name, None)

    def connect(self, names: Collection[str]) -> None:
        """These have a connection now, and nobody else."""
        self._connected = frozenset(names)

    def present(self) -> frozenset[str]:
        """Who is connected, or has said something lately."""
        oldest = self._clock.monotonic() - SILENT_SECONDS
        self._came = {name: at for name, at in self._came.items() if at >= oldest}
        return self._connected | self._lately().keys() | self._came.keys()

    def workloads(self) -> dict[str, Heard]:
        """What each workload said last, of those that have said something lately."""
        return {
            name: next(iter(replicas.values()))
            for name, replicas in self._lately().items()
            if not name.startswith(_SERVICE)
        }

    def holding(self, signer: str) -> frozenset[str]:
        """Who showed a leaf below that anchor when last heard of."""
        return frozenset(
            name
            for name, replicas in self._heard.items()
            if any(heard.leaf and signer in heard.leaf.signed_by for heard in replicas.values())
        )

    def standing(self, names: Collection[str], wanted: Wanted) -> Standing:
        """How far each of `names` is."""
        current, waiting = set(), {}
        for name in sorted(names):
            if why := self._lacks(name, wanted):
                waiting[name] = why
            else:
                current.add(name)
        return Standing(frozenset(current), waiting)

    def _lacks(self, name: str, wanted: Wanted) -> str:
        now = self._clock.monotonic()
        replicas = self._heard.get(name, {})
        if name.startswith(_SERVICE):
            # A replica that went away has no name of its own by which to leave it behind.
            replicas = _lately(replicas, now)
        if not replicas:
            if name in self._connected:
                return "connected to the bus, but has acknowledged nothing"
            return "not connected to the bus, and has said nothing lately"
        reasons = (_lacks(heard, wanted, now) for heard in replicas.values())
        return next(filter(None, reasons), "")

    def _lately(self) -> dict[str, dict[str, Heard]]:
        """Who has said something lately: the last ones in the order in which they were heard."""
        now, found = self._clock.monotonic(), {}
        for name, replicas in reversed(self._heard.items()):
            if not _lately(replicas, now):
                break
            found[name] = replicas
        return found

    def _remember(self, memory: dict[str, V], name: str, what: V) -> None:
        memory.pop(name, None)
        memory[name] = what
        if len(memory) > self._most:
            del memory[next(iter(memory))]


def _lately(replicas: dict[str, Heard], now: float) -> dict[str, Heard]:
    return {uid: heard for uid, heard in replicas.items() if heard.at >= now - SILENT_SECONDS}


def _lacks(heard: Heard, wanted: Wanted, now: float) -> str:
    if heard.revision >= wanted.revision and _fits(heard.leaf, wanted):
        return ""
    if (silent := now - heard.at) > SILENT_SECONDS:
        return f"silent for {silent:.0f} s"
    if heard.revision < wanted.revision:
        return f"has revision {heard.revision} of the bundle; expected {wanted.revision}"
    return "holds a leaf below another anchor than the one that signs now"


def _fits(leaf: ShownLeaf | None, wanted: Wanted) -> bool:
    return leaf is None or first_of(leaf.signed_by, wanted.anchors) == wanted.signing


def _where(name: str) -> str:
    """The subject on which somebody of that name acknowledges; empty if it is no name."""
    namespace, _, own = name.partition("/")
    if namespace == "_":
        return role_ack(own).subject
    try:
        return acks(WorkloadName(namespace, own)).subject
    except InvalidName:
        return ""


def _where_entered(event: Lifecycle) -> str:
    """The subject on which a workload says that itself; empty if it is no name."""
    try:
        return lifecycle(WorkloadName(event.namespace, event.workload), event.phase).subject
    except InvalidName:
        return ""
