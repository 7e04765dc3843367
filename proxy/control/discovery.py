"""Where things are: what destination says of the addresses and services that this workload talks to.

Nothing is followed that was not asked for, and what is not asked for any more is followed no longer,
so memory grows with what the workload talks to and not with the cluster.
"""

import functools
import ipaddress
import logging
from collections.abc import Callable
from typing import Any, TypeVar

import anyio
import msgspec

from common.bus import Bus
from common.clock import Clock
from common.contract import subjects
from common.contract.discovery import Endpoint, EndpointSlice, Hint, Settings
from common.contract.topic import State
from common.errors import InvalidName
from common.latest import Latest
from common.log import fields
from common.names import ServiceName
from proxy.control.kept import Kept
from proxy.control.watch import Watch
from proxy.decide.balance import Balancer
from proxy.decide.candidate import Candidate, What
from proxy.decide.zones import nearby

ANSWER_SECONDS = 0.5
"""A lookup that is not answered by then is passed through: discovery must not break traffic."""
SILENCE_SECONDS = 5.0
"""For so long nobody waits again for a lookup that was not answered."""
UNUSED_SECONDS = 600.0
MOST_ENTRIES = 10_000
"""Addresses, and services, followed at a time; what is beyond is passed through."""
MOST_PORTS = 256
"""Ports of one workload's address whose latency is remembered."""
log = logging.getLogger(__name__)
M = TypeVar("M", bound=msgspec.Struct)


class Backend:
    """A port of a service, or of a workload's own address, and the endpoints behind it."""

    __slots__ = ("balancer", "hint", "port", "seen_first", "service", "told_opaque")

    def __init__(self, service: str, port: int, hint: Hint, balancer: Balancer) -> None:
        self.service = service
        """`name.namespace`; empty for an address that is a workload's own."""
        self.port = port
        self.hint = hint
        self.balancer = balancer
        self.told_opaque = False
        """Discovery says that the endpoints' ports are opaque."""
        self.seen_first = False
        """An endpoint was seen to speak before its client did."""

    @property
    def opaque(self) -> bool:
        """Whether there is nothing to detect: declared, told, or seen."""
        if self.hint == "detect":
            return self.told_opaque or self.seen_first
        return self.hint == "opaque"

    def __repr__(self) -> str:
        return f"<Backend {self.service or 'address'}:{self.port} {self.hint} {self.balancer}>"


class Passthrough:
    """Nothing is known there: traffic goes where it was going, untouched."""

    def __repr__(self) -> str:
        return "<Passthrough>"


PASSTHROUGH = Passthrough()
Target = Backend | Passthrough


class Discovery:
    """Answers lookups at once where it can."""

    def __init__(
        self,
        bus: Bus,
        kept: Kept,
        clock: Clock,
        unanswered: Callable[[], None],
        *,
        zone: str = "",
        tell: Callable[[ServiceName, int, What, Candidate], None] | None = None,
    ) -> None:
        self.zone = zone
        """Where this workload is; endpoints that are meant for others are spared."""
        self._tell = tell
        self._bus = bus
        self._kept = kept
        self._clock = clock
        self._unanswered = unanswered
        self.on_left: Callable[[Endpoint, int], None] = _nobody_minds
        """Told of each endpoint and port that requests go to no longer."""
        self._addresses: dict[str, _AddressEntry] = {}
        self._services: dict[ServiceName, _ServiceEntry] = {}
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        self._inside: dict[str, bool] = {}
        self._fast: dict[tuple[str, int], Target] = {}
        """Answers given lately. Any change empties it, and so does every look for what is unused."""
        self._moved = anyio.Event()
        self._settings = Watch(bus, kept, subjects.settings(), self._apply_settings)
        self.settings = Latest(Settings())
        """The mesh-wide settings in force."""
        self._apply_settings()

    def lookup(self, address: str, port: int) -> Target | None:
        """What is at an IP address and port; None if `resolve` must be asked, which may wait."""
        known = self._fast.get((address, port))
        if known is not None:
            return known
        target = self._look_up(address, port)
        if target is not None and target is not PASSTHROUGH and len(self._fast) < MOST_ENTRIES:
            self._fast[address, port] = target
        return target

    def _look_up(self, address: str, port: int) -> Target | None:
        entry = self._addresses.get(address)
        if entry is None:
            if not self._is_inside(address) or len(self._addresses) >= MOST_ENTRIES:
                return PASSTHROUGH
            entry = self._addresses[address] = _AddressEntry(self, address)
        entry.used = self._clock.monotonic()
        return entry.target(port)

    def lookup_name(self, name: ServiceName, port: int) -> Target | None:
        """The same for a service by its name; PASSTHROUGH if there is none, or it has no such port."""
        entry = self.service(name)
        return PASSTHROUGH if entry is None else entry.target(port)

    async def resolve(self, address: str, port: int) -> Target:
        """Wait for the answer, for ANSWER_SECONDS at most; then PASSTHROUGH."""
        entry = self._addresses.get(address)
        return PASSTHROUGH if entry is None else await self._answer(entry, port)

    async def resolve_name(self, name: ServiceName, port: int) -> Target:
        """The same for a service by its name."""
        entry = self._services.get(name)
        return PASSTHROUGH if entry is None else await self._answer(entry, port)

    async def _answer(self, entry: "_AddressEntry | _ServiceEntry", port: int) -> Target:
        with anyio.move_on_after(ANSWER_SECONDS):
            while (target := entry.target(port)) is None:
                await self._moved.wait()
            return target
        entry.silent_until = self._clock.monotonic() + SILENCE_SECONDS
        self._unanswered()
        return PASSTHROUGH

    async def run(self) -> None:
        """Forget what nobody asks for, for ever."""
        while True:
            await anyio.sleep(UNUSED_SECONDS / 20)
            self.forget_unused()

    def forget_unused(self) -> None:
        """Follow no longer what was not asked for in UNUSED_SECONDS."""
        self._fast.clear()
        before = self._clock.monotonic() - UNUSED_SECONDS
        for address in [a for a, entry in self._addresses.items() if entry.used < before]:
            self._addresses.pop(address).close()
        for name in [n for n, entry in self._services.items() if entry.used < before]:
            self._services.pop(name).close()

    def revisions(self) -> dict[str, int]:
        """The revisions in force of everything followed, by subject."""
        watches: list[Watch[Any]] = [
            self._settings,
            *(entry.watch for entry in self._addresses.values()),
        ]
        for service in self._services.values():
            watches += [service.watch, *service.slices.values()]
        return {watch.subject: watch.revision for watch in watches if watch.revision}

    def service(self, name: ServiceName) -> "_ServiceEntry | None":
        """The entry of a service, made if need be; None if there are too many."""
        entry = self._services.get(name)
        if entry is None:
            if len(self._services) >= MOST_ENTRIES:
                return None
            entry = self._services[name] = _ServiceEntry(self, name)
        entry.used = self._clock.monotonic()
        return entry

    def move_to(self, zone: str) -> None:
        """The workload is in this zone from now on."""
        if zone != self.zone:
            self.zone = zone
            for entry in self._services.values():
                entry.rebuild()

    def watch(self, state: State[M], changed: Callable[[], None]) -> Watch[M]:
        """Follow one more document."""

        def moved() -> None:
            self._fast.clear()
            changed()
            moved, self._moved = self._moved, anyio.Event()
            moved.set()

        return Watch(self._bus, self._kept, state, moved)

    def balancer(self, service: ServiceName | None = None, port: int = 0) -> Balancer:
        """One more balancer; of a port of a service, whose broken endpoints are told."""
        tell = self._tell
        if service is None or tell is None:
            balancer = Balancer(self._clock)
        else:
            balancer = Balancer(self._clock, functools.partial(tell, service, port))
        balancer.left = self._left
        return balancer

    def _left(self, endpoint: Endpoint, port: int) -> None:
        self.on_left(endpoint, port)

    def now(self) -> float:
        """Monotonic seconds."""
        return self._clock.monotonic()

    def _apply_settings(self) -> None:
        settings = self._settings.document or Settings()
        self._fast.clear()
        try:
            self._networks = [
                ipaddress.ip_network(text, strict=False) for text in settings.cluster_networks
            ]
        except ValueError as error:
            log.warning("cluster networks not used: those before stay", extra=fields(error=error))
        self._inside.clear()
        self.settings.set(settings)

    def _is_inside(self, address: str) -> bool:
        """Whether an address is in the cluster's networks; remembered, because asked for each connection."""
        known = self._inside.get(address)
        if known is None:
            ip = ipaddress.ip_address(address)
            known = any(
                ip in network for network in self._networks if network.version == ip.version
            )
            if len(self._inside) >= MOST_ENTRIES:
                self._inside.clear()
            self._inside[address] = known
        return known


def _nobody_minds(endpoint: Endpoint, port: int) -> None:
    """An endpoint left to which nothing was ever sent."""


class _ServiceEntry:
    """A service with its slices, and a backend for each of its ports."""

    def __init__(self, discovery: Discovery, name: ServiceName) -> None:
        self._discovery = discovery
        self._name = name
        self._backends: dict[int, Backend] = {}
        self.slices: dict[str, Watch[EndpointSlice]] = {}
        self.used = 0.0
        self.silent_until = 0.0
        self.watch = discovery.watch(subjects.service(name), self._changed)
        self._changed()

    def target(self, port: int) -> Target | None:
        """See Discovery.lookup."""
        backend = self._backends.get(port)
        if backend is not None:
            return backend
        if self._complete or self.silent_until > self._discovery.now():
            return PASSTHROUGH
        return None

    def close(self) -> None:
        """Follow none of it any longer."""
        self.watch.close()
        for watch in self.slices.values():
            watch.close()

    @property
    def _complete(self) -> bool:
        return self.watch.known and all(watch.known for watch in self.slices.values())

    def _changed(self) -> None:
        service = self.watch.document
        wanted = service.slices if service is not None else ()
        for gone in self.slices.keys() - set(wanted):
            self.slices.pop(gone).close()
        for name in wanted:
            if name not in self.slices:
                self.slices[name] = self._discovery.watch(
                    subjects.endpoints(self._name, name), self.rebuild
                )
        self.rebuild()

    def rebuild(self) -> None:
        """Bring the backends up to what is known, once it is all known."""
        if not self._complete:
            return
        service = self.watch.document
        ports = {port.port: port for port in service.ports} if service is not None else {}
        for number in self._backends.keys() - ports.keys():
            self._backends.pop(number).balancer.update([])
        endpoints = [
            e for watch in self.slices.values() if watch.document for e in watch.document.endpoints
        ]
        for number, port in ports.items():
            backend = self._backends.get(number)
            if backend is None:
                balancer = self._discovery.balancer(self._name, number)
                backend = Backend(str(self._name), number, port.hint, balancer)
                self._backends[number] = backend
            backend.hint = port.hint
            # All of them: one replica's word must not change how the others are spoken to.
            places = [e for e in endpoints if port.name in e.ports]
            backend.told_opaque = bool(places) and all(
                e.ports[port.name] in e.opaque_ports for e in places
            )
            near, far = nearby(places, self._discovery.zone)
            backend.balancer.update(
                [(e, e.ports[port.name]) for e in near],
                service.failure_accrual if service is not None else None,
                [(e, e.ports[port.name]) for e in far],
            )


class _AddressEntry:
    """What lives at one IP address: a service, a workload, or nothing that is known."""

    def __init__(self, discovery: Discovery, address: str) -> None:
        self._discovery = discovery
        self._backends: dict[int, Backend] = {}
        self._service: ServiceName | None = None
        self._resident: Endpoint | None = None
        self.used = 0.0
        self.silent_until = 0.0
        self.watch = discovery.watch(subjects.address(address), self._changed)
        self._changed()

    def target(self, port: int) -> Target | None:
        """See Discovery.lookup."""
        if not self.watch.known:
            return PASSTHROUGH if self.silent_until > self._discovery.now() else None
        document = self.watch.document
        if document is None:
            return PASSTHROUGH
        if self._service is not None:
            target = self._discovery.lookup_name(self._service, port)
            silent = target is None and self.silent_until > self._discovery.now()
            return PASSTHROUGH if silent else target
        return PASSTHROUGH if document.workload is None else self._workload(document.workload, port)

    def close(self) -> None:
        """Follow it no longer."""
        self.watch.close()

    def _changed(self) -> None:
        self._service = None
        document = self.watch.document
        workload = document.workload if document is not None else None
        if workload != self._resident:
            self._backends.clear()
            self._resident = workload
        if document is not None and document.service:
            try:
                self._service = ServiceName.parse(document.service)
            except InvalidName as error:
                log.warning(
                    "address ignored", extra=fields(subject=self.watch.subject, error=error)
                )

    def _workload(self, workload: Endpoint, port: int) -> Backend:
        backend = self._backends.get(port)
        if backend is None:
            opaque = (
                port in workload.opaque_ports or port in self._discovery.settings.value.opaque_ports
            )
            backend = Backend(
                "", port, "opaque" if opaque else "detect", self._discovery.balancer()
            )
            backend.balancer.update([(workload, port)])
            if len(self._backends) < MOST_PORTS:
                self._backends[port] = backend
        return backend
