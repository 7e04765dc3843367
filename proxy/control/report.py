"""What the proxy says on the bus: its phases, what it measured, and which revisions it has in force."""

import logging
from collections.abc import Callable

import anyio

from common.bus import Bus
from common.clock import Clock
from common.contract import subjects
from common.contract.discovery import Settings as MeshSettings
from common.contract.events import Ack, Learned, Lifecycle, Phase, ShownLeaf
from common.latest import Latest
from common.log import fields
from common.version import VERSION
from proxy.observe.counters import Counters, report
from proxy.settings import Settings

log = logging.getLogger(__name__)

ACK_SECONDS = 10.0
TELL_AGAIN_SECONDS = 600.0
"""What was learned is told again after so long, if it is learned again."""
_LOOK_SECONDS = 0.5
_SAY_AGAIN_SECONDS = 0.05


class Reporter:
    """Speaks for this proxy on the bus."""

    def __init__(
        self,
        bus: Bus,
        settings: Settings,
        counters: Counters,
        mesh: Latest[MeshSettings],
        revisions: Callable[[], dict[str, int]],
        leaf: Callable[[], ShownLeaf | None],
        clock: Clock,
    ) -> None:
        self._bus = bus
        self._settings = settings
        self._counters = counters
        self._mesh = mesh
        self._revisions = revisions
        self._leaf = leaf
        self._clock = clock
        self.started = clock.now()
        self._phase: Phase = "started"
        self._told: dict[int, float] = {}
        self._untold: list[int] = []

    async def announce(self, phase: Phase) -> None:
        """Say that a phase of the proxy's life begins; returns when that could be said."""
        self._phase = phase
        while not await self._say_phase() and self._phase == phase:
            await self._bus.wait_connected()
            await anyio.sleep(_SAY_AGAIN_SECONDS)

    async def run_reminders(self) -> None:
        """Say the phase again after every time not connected, for ever: nobody may have heard it."""
        async for connected in self._bus.connected.changes():
            if connected:
                await self._say_phase()

    async def _say_phase(self) -> bool:
        event = Lifecycle(
            namespace=self._settings.namespace,
            workload=self._settings.workload,
            uid=self._settings.uid,
            phase=self._phase,
            time=self._clock.now(),
        )
        return await self._bus.publish(subjects.lifecycle(self._settings.name, self._phase), event)

    def learned(self, port: int) -> None:
        """The application speaks first on this port: have it told, once in a while."""
        now = self._clock.monotonic()
        if self._told.get(port, 0.0) <= now:
            self._told[port] = now + TELL_AGAIN_SECONDS
            self._untold.append(port)

    async def report(self, *, final: bool = False) -> None:
        """Say what was measured since the start."""
        message = report(
            self._counters,
            namespace=self._settings.namespace,
            workload=self._settings.workload,
            owner=self._settings.owner,
            identity=self._settings.identity.uri,
            started=self.started,
            now=self._clock.now(),
            final=final,
        )
        await self._bus.publish(subjects.metrics(self._settings.name), message)

    async def run_reports(self) -> None:
        """Report every so often, as the mesh's settings say, for ever."""
        reported = self._clock.monotonic()
        while True:
            await anyio.sleep(_LOOK_SECONDS)
            now = self._clock.monotonic()
            # Looked at anew each time: a shorter interval counts at once.
            if now - reported >= self._mesh.value.report_seconds - _LOOK_SECONDS / 2:
                reported = now
                await self.report()
                self._counters.forget_idle(now)

    async def run_acks(self) -> None:
        """Say what is in force, when it changes, when the bus is back, and every ACK_SECONDS, for ever."""
        said: tuple[dict[str, int], ShownLeaf | None] | None = None
        due = 0.0
        while True:
            now = self._clock.monotonic()
            in_force = self._revisions(), self._leaf()
            if in_force != said or now >= due:
                heard = await self._bus.publish(
                    subjects.ack(self._settings.name), self._ack(*in_force)
                )
                said, due = in_force if heard else None, now + ACK_SECONDS
            while self._untold:
                await self._tell_learned(self._untold.pop())
            await anyio.sleep(_LOOK_SECONDS)

    async def _tell_learned(self, port: int) -> None:
        message = Learned(
            namespace=self._settings.namespace,
            workload=self._settings.workload,
            uid=self._settings.uid,
            port=port,
            time=self._clock.now(),
        )
        log.info("the application speaks first", extra=fields(port=port))
        await self._bus.publish(subjects.learned(self._settings.name), message)

    def _ack(self, revisions: dict[str, int], leaf: ShownLeaf | None) -> Ack:
        return Ack(
            namespace=self._settings.namespace,
            workload=self._settings.workload,
            uid=self._settings.uid,
            revisions=revisions,
            leaf=leaf,
            time=self._clock.now(),
            version=VERSION,
        )
