"""Destination on a given bus: a source feeds the index, the holder of the lease publishes its answers."""

import logging

import anyio

from common.admin import Admin, ready
from common.backoff import Backoff
from common.bus import Bus
from common.clock import Clock, SystemClock
from common.errors import BusUnavailable
from common.latest import Latest
from common.lease import Lease
from common.log import fields
from common.names import DEFAULT_TRUST_DOMAIN
from common.version import VERSION
from services.destination.announce import Announcer
from services.destination.exposition import CONTENT_TYPE, exposition
from services.destination.index import Index
from services.destination.lifecycles import Lifecycles
from services.destination.publish import Publisher
from services.destination.resources import Change
from services.destination.sources.standing import Opener, Standing

log = logging.getLogger(__name__)

LEASE = "destination"
PATIENCE = 30.0
"""Seconds after which destination publishes without having read back who is draining."""


class Destination:
    """One replica: knows everything, and publishes while it holds the lease."""

    def __init__(
        self,
        bus: Bus,
        source: Opener,
        *,
        replica: str,
        trust_domain: str = DEFAULT_TRUST_DOMAIN,
        lease_seconds: float = 10.0,
        clock: Clock | None = None,
    ) -> None:
        self.index = Index(trust_domain)
        self._bus = bus
        self._clock = clock or SystemClock()
        self._announcer = Announcer(bus, replica, self._clock)
        self.source = source(self.take, self._announcer.tell)
        self.publisher = Publisher(bus, self.index, self._is_complete, self._clock)
        self.lease = Lease(bus, LEASE, replica, ttl=lease_seconds, clock=self._clock)
        self._lifecycles = Lifecycles(bus, self.take)
        self._read_back = Latest(False)
        self._unknown: frozenset[str] = frozenset()

    def take(self, changes: list[Change]) -> None:
        """Take changes in, and have what went stale published."""
        for change in changes:
            self.publisher.refresh(self.index.apply(change))

    async def run(self) -> None:
        """Follow, hear and publish for ever."""
        # It answers no questions, but who asks which services are there finds it.
        await self._bus.serve(LEASE, VERSION, (), queue=LEASE)
        self.source.standing.on_change(self._standing_changed)
        await self._lifecycles.start()
        async with anyio.create_task_group() as group:
            group.start_soon(self.source.run)
            group.start_soon(self._announcer.run)
            group.start_soon(self._prepare)
            group.start_soon(self._lead)

    def admin(self, listen: str) -> Admin:
        """The admin port: /live, /ready, /metrics."""
        text = exposition(
            self.index,
            self.publisher.stats,
            lambda: self.source.standing.value,
            lambda: self.lease.held.value,
        )
        return Admin(
            listen,
            {
                "/ready": ready(lambda: self.ready),
                "/metrics": lambda: (200, CONTENT_TYPE, text()),
            },
        )

    @property
    def ready(self) -> bool:
        """It knows its source and has the bus; a standby is as ready as the one that publishes."""
        return self.source.standing.value.loaded and self._bus.connected.value

    async def _prepare(self) -> None:
        """After every time not connected: hear what was missed, once identity has made the streams."""
        async for connected in self._bus.connected.changes():
            if connected:
                await self._prepare_once()

    async def _prepare_once(self) -> None:
        backoff = Backoff(self._clock)
        while self._bus.connected.value:
            try:
                await self._lifecycles.read_back()
            except BusUnavailable as error:
                log.warning("the bus is not prepared", extra=fields(error=str(error)))
                await anyio.sleep(backoff.next())
            else:
                self._read_back.set(True)
                return

    async def _lead(self) -> None:
        await self.source.standing.wait_for(lambda standing: standing.loaded)
        await self._bus.wait_connected()
        with anyio.move_on_after(PATIENCE):
            await self._read_back.wait_for(bool)
        await self.lease.run(self.publisher.run)

    def _is_complete(self) -> bool:
        return not self.source.standing.value.unknown

    def _standing_changed(self, standing: Standing) -> None:
        known, self._unknown = not self._unknown, standing.unknown
        if standing.unknown and standing.loaded and known:
            files = " ".join(sorted(standing.unknown)[:10])
            log.warning("files not known: nothing is taken away", extra=fields(files=files))
        elif not standing.unknown and not known:
            self.publisher.refresh_all()
