"""Who runs: the services that NATS's framework finds, who holds which lease, what everybody acknowledges."""

from collections import Counter
from collections.abc import Collection

import anyio
import msgspec

from cli import leaves
from common.bus import Bus
from common.bus.keys import Key
from common.clock import Clock
from common.contract import subjects
from common.contract.events import Ack
from common.errors import MeshError
from common.names import WorkloadName, untoken

SERVICES = ("identity", "destination", "injector", "telemetry")
LEASED = ("identity", "destination", "injector")
STREAMS = (
    subjects.STATE,
    subjects.WORKLOADS,
    subjects.EVENTS,
    subjects.LIFECYCLES,
    f"KV_{subjects.LEASES}",
)
ACK_SECONDS = 11.0
"""Everybody acknowledges every ten."""


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """The replicas of a service that run one version."""

    name: str
    version: str
    replicas: int


class Proxies(msgspec.Struct, frozen=True, kw_only=True):
    """The proxies that run one version."""

    version: str
    """Empty if they do not say."""
    count: int


class Versions(msgspec.Struct, frozen=True, kw_only=True):
    """What runs in a mesh."""

    services: tuple[Service, ...]
    proxies: tuple[Proxies, ...]
    trouble: tuple[str, ...] = ()
    """Why something may be missing."""


class _Endpoint(msgspec.Struct, frozen=True):
    subject: str = ""


class _Info(msgspec.Struct, frozen=True):
    """What a service says of itself (NATS ADR-32)."""

    name: str
    version: str = ""
    endpoints: tuple[_Endpoint, ...] | None = None


async def services(bus: Bus) -> list[Service]:
    """The services that answer, in the order of SERVICES. Raises BusUnavailable."""
    found: dict[tuple[str, str], list[_Info]] = {}
    for answer in await bus.ask_all("$SRV.INFO", b""):
        try:
            info = msgspec.json.decode(answer, type=_Info)
        except msgspec.DecodeError:
            continue
        if info.name in SERVICES:
            found.setdefault((info.name, info.version), []).append(info)
    rows = [
        Service(name=name, version=version, replicas=_replicas(infos))
        for (name, version), infos in found.items()
    ]
    return sorted(rows, key=lambda row: (SERVICES.index(row.name), row.version))


def _replicas(infos: list[_Info]) -> int:
    """A replica may answer in parts: then each question is answered by as many as there are replicas."""
    questions = Counter(one.subject for info in infos for one in info.endpoints or ())
    return max(questions.values(), default=len(infos))


async def versions(bus: Bus) -> Versions:
    """What runs. Raises BusUnavailable."""
    found = await services(bus)
    trouble = [] if found else ["no service answers"]
    counts: Counter[str] = Counter()
    try:
        told = await leaves.fetch(bus)
    except MeshError as error:
        trouble.append(f"which proxies run is not known: {error}")
    else:
        counts.update(row.version for row in told.rows)
        if told.covered < ACK_SECONDS:
            trouble.append(
                f"identity has listened for {told.covered:.0f} s only: proxies may be missing"
            )
    proxies = (Proxies(version=version, count=count) for version, count in sorted(counts.items()))
    return Versions(services=tuple(found), proxies=tuple(proxies), trouble=tuple(trouble))


async def holder(bus: Bus, service: str) -> str:
    """Who holds the lease of a service; empty: nobody. Raises BusUnavailable."""
    held = await Key(bus, subjects.LEASES, service).look()
    return held.value.rpartition("#")[0]


class Acks:
    """What workloads acknowledge, from now on, by name. The bus vouches for the names."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.heard: dict[str, Ack] = {}
        self.skews: dict[str, float] = {}
        """By how many seconds the clock there is ahead of ours."""
        self._since = 0.0
        self._news = anyio.Event()

    async def listen(self, bus: Bus) -> None:
        """Begin."""
        await bus.listen(subjects.ack_any(), self._hear)
        self._since = self._clock.monotonic()

    async def wait(self, for_names: Collection[str]) -> None:
        """Wait until these have acknowledged, or should have."""
        left = self._since + ACK_SECONDS - self._clock.monotonic()
        with anyio.move_on_after(max(0.0, left)):
            while not self.heard.keys() >= set(for_names):
                await self._news.wait()

    def _hear(self, subject: str, ack: Ack) -> None:
        namespace, name = subject.split(".")[-2:]
        if namespace != "_":
            workload = f"{namespace}/{untoken(name)}"
            self.heard[workload] = ack
            self.skews[workload] = ack.time - self._clock.now()
            self._news.set()
            self._news = anyio.Event()


async def acknowledged(bus: Bus, clock: Clock, name: WorkloadName) -> Ack | None:
    """What one workload acknowledges next, within eleven seconds; None if it says nothing."""
    acks = Acks(clock)
    await acks.listen(bus)
    await acks.wait([str(name)])
    return acks.heard.get(str(name))
