"""What is on the bus made equal to the answers: debounced, diffed, and only by the holder of the lease.

A lone change is published at once, those that follow upon it are gathered. What is published is looked at
again now and then, a page at a time, and changes go out in between.

A document is written over the revision that was read or written last. A refused write is looked into and
tried again; while the bus is away the keys wait. What names others is written after what it names:
slices, then their service, then the address that leads to it; and taken away before it.
"""

import logging
from collections.abc import Callable, Iterable
from contextlib import aclosing, suppress
from itertools import groupby

import anyio
import anyio.lowlevel
import msgspec

from common.backoff import Backoff
from common.bus import Bus, Revision
from common.bus.state import last_revision
from common.clock import Clock, SystemClock
from common.contract.discovery import Address
from common.contract.topic import Document
from common.errors import BusUnavailable, InvalidMessage, RevisionConflict
from common.log import fields
from services.destination.answers import answer
from services.destination.careful import keep
from services.destination.index import Index
from services.destination.keys import Key, ServiceKey, SliceKey
from services.destination.published import Published

log = logging.getLogger(__name__)

DEBOUNCE = 0.01
"""Seconds for which changes are gathered after others have been published."""
TOMBSTONE_SECONDS = 3600.0
CONCURRENCY = 64
"""Writes on their way at once."""
SLICE = 256
"""Answers looked at without a pause: about ten milliseconds."""
RESCAN_SOON = 5.0
"""Seconds after a first scan to the next: a replica of the stream that was late is not late any more."""
RESCAN = 600.0
_TRIES = 5
# Long enough for the loop to learn that the lease has been lost while the process stood still.
_CONFLICT_PAUSE = 0.05


class Stats(msgspec.Struct):
    """What was counted since the start, and how things stand."""

    written: int = 0
    conflicts: int = 0
    failures: int = 0
    published: int = 0
    """Documents on the bus that are not tombstones; known to the holder of the lease only."""
    waiting: int = 0
    """Keys to be looked at."""


class Publisher:
    """Keeps the bus as the index answers, while it runs; `complete` says whether the source is known whole."""

    def __init__(
        self,
        bus: Bus,
        index: Index,
        complete: Callable[[], bool] = lambda: True,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self.stats = Stats()
        self._bus = bus
        self._index = index
        self._complete = complete
        self._backoff = Backoff(self._clock, first=0.1, most=5.0)
        self._published = Published(bus)
        self._dirty: set[Key] = set()
        self._wake = anyio.Event()
        self._running = False
        self._next_scan = 0.0
        self._rescan = RESCAN_SOON
        self._gathers_until = 0.0

    def refresh(self, keys: Iterable[Key]) -> None:
        """These answers may have changed. Of no account while another replica publishes."""
        if self._running:
            self._dirty.update(keys)
            self._wake.set()

    def refresh_all(self) -> None:
        """Every answer may have changed."""
        self.refresh((*self._index.all_keys(), *self._published))

    async def run(self) -> None:
        """Publish until cancelled; only while holding the lease."""
        forget = self._bus.connected.on_change(self._connection_changed)
        self._running = True
        self._connection_changed(True)
        try:
            while True:
                await self._rest()
                await self._step()
        finally:
            forget()
            self._running = False
            self._published.forget()
            self._dirty.clear()
            self._count()

    def _connection_changed(self, connected: bool) -> None:
        if connected:
            # The bus may have lost what was written, or never have taken it.
            self._next_scan, self._rescan = 0.0, RESCAN_SOON
            self._wake.set()

    async def _rest(self) -> None:
        """Wait until there is something to do; what comes upon something else is gathered for a moment."""
        with anyio.move_on_after(self._next_scan - self._clock.monotonic()):
            await self._wake.wait()
        await anyio.sleep(max(0.0, self._gathers_until - self._clock.monotonic()))
        self._wake = anyio.Event()

    async def _step(self) -> None:
        try:
            if self._clock.monotonic() >= self._next_scan:
                await self._scan()
            await self._flush()
        except BusUnavailable as error:
            wait = self._backoff.next()
            log.warning("not published", extra=fields(error=str(error), again_in=round(wait, 2)))
            await anyio.sleep(wait)
            self._wake.set()
        else:
            self._backoff.reset()
        self._gathers_until = self._clock.monotonic() + DEBOUNCE
        self._count()

    async def _scan(self) -> None:
        """Learn what is published; the first time, look at every answer then. Raises BusUnavailable.

        Without a first scan nothing is written; during later ones changes go first.
        """
        # Set before, because the connection may change meanwhile.
        self._next_scan, self._rescan = self._clock.monotonic() + self._rescan, RESCAN
        known = self._published.known
        try:
            async with aclosing(self._published.read()) as pages:
                async for doubtful in pages:
                    self._dirty.update(doubtful)
                    if known:
                        with suppress(BusUnavailable):  # the next page will tell
                            await self._flush()
        except BusUnavailable:
            self._next_scan = 0.0
            raise
        if not known:
            self._dirty.update(self._index.all_keys())
        log.info("looked at what is published", extra=fields(documents=len(self._published)))

    async def _flush(self) -> None:
        """Write every difference, phase by phase. What was not written stays dirty: BusUnavailable."""
        keys, self._dirty = self._dirty, set()
        writes: list[tuple[Key, Document]] = []
        for number, key in enumerate(keys, 1):
            document = self._difference(key)
            if document is not None:
                writes.append((key, document))
            if number % SLICE == 0:
                await anyio.lowlevel.checkpoint()
        writes.sort(key=_phase)
        unwritten = dict(writes)
        try:
            for _, phase in groupby(writes, key=_phase):
                await self._write_all(list(phase), unwritten)
        finally:
            self._dirty.update(unwritten)
        if unwritten:
            raise BusUnavailable(
                f"{len(unwritten)} of {len(writes)} documents could not be written"
            )

    def _difference(self, key: Key) -> Document | None:
        """What must be written to make the bus agree with the answer; None: nothing."""
        document = answer(self._index, key)
        published = self._published.get(key)
        if published is None:
            return document
        if not self._complete():
            if document is None:
                return None
            document = keep(self._index, document, published.message)
        document = document or key.tombstone
        return None if document == published.message else document

    async def _write_all(
        self, writes: list[tuple[Key, Document]], unwritten: dict[Key, Document]
    ) -> None:
        """Write these, taking out of `unwritten` what has been; ends early once the bus is away."""
        rest = iter(writes)

        async def work() -> None:
            for key, document in rest:
                if not self._bus.connected.value:
                    return
                try:
                    await self._write(key, document)
                except BusUnavailable as error:
                    self.stats.failures += 1
                    log.debug("not written", extra=fields(key=str(key), error=str(error)))
                else:
                    del unwritten[key]

        async with anyio.create_task_group() as group:
            for _ in range(min(CONCURRENCY, len(writes))):
                group.start_soon(work)

    async def _write(self, key: Key, document: Document) -> None:
        """Write one document over what was known to be there; raises BusUnavailable."""
        ttl = TOMBSTONE_SECONDS if document.deleted else None
        known = self._published.get(key)
        expected = known.revision if known else 0
        for _ in range(_TRIES):
            try:
                revision = await self._bus.put(key.state, document, expected=expected, ttl=ttl)
            except RevisionConflict:
                self.stats.conflicts += 1
                await anyio.sleep(_CONFLICT_PAUSE)
                expected = await last_revision(self._bus.connection, key.state)
            except InvalidMessage as error:
                # Too large for the bus: it does not become smaller by trying again.
                log.error("unpublishable", extra=fields(key=str(key), error=str(error)))
                return
            else:
                self.stats.written += 1
                self._published.wrote(key, Revision(document, revision))
                return
        raise BusUnavailable(f"{key.state.subject}: somebody else writes it all the time")

    def _count(self) -> None:
        self.stats.published = len(self._published)
        self.stats.waiting = len(self._dirty)


def _phase(write: tuple[Key, Document]) -> int:
    key, document = write
    match key, document:
        case ServiceKey(), _:
            return 3 if document.deleted else 1
        case SliceKey(), _ if document.deleted:
            return 4
        case _, Address(workload=None):
            return 2
    return 0
