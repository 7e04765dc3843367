"""Drives rotations of the trust anchor, by the replica that holds the lease, and tells everybody of it.

Each look: take up changed files, publish the bundle, see to the certificate of NATS, ask who is there, and
go on if everybody has what this phase asks of them. What is asked for by hand waits for the same.
"""

import logging
from collections.abc import Collection
from typing import Any

import anyio

from common.bus import Bus, Endpoint
from common.bus.streams import ensure
from common.clock import Clock
from common.contract import subjects
from common.contract.identity import Rotation, TrustChange, TrustQuestion
from common.errors import BusUnavailable, Refused, RevisionConflict
from common.log import fields
from services.identity.bundle import Kept
from services.identity.driver import Driver, Pace
from services.identity.inputs import Reloader
from services.identity.journal import Journal
from services.identity.presence import Presence
from services.identity.progress import FORWARD, Step
from services.identity.roster import Roster
from services.identity.server_files import ServerFiles
from services.identity.steps import Steps
from services.identity.stock import Gone, Stock
from services.identity.store import NotKept, Store

log = logging.getLogger(__name__)

PACE = Pace(busy=0.5, quiet=5.0)
_NAMED = 5


class Rotator:
    """Everything that the replica does about trust that holds the lease."""

    def __init__(
        self,
        bus: Bus,
        *,
        store: Store,
        reloader: Reloader,
        steps: Steps,
        roster: Roster,
        presence: Presence,
        servers: ServerFiles,
        journal: Journal,
        clock: Clock,
        lock: anyio.Lock,
        gone: Gone | None = None,
    ) -> None:
        """With `lock` nobody else changes the mesh directory; nobody is waited for who is `gone`."""
        self._bus = bus
        self._store = store
        self._reloader = reloader
        self._steps = steps
        self._stock = Stock(roster, presence, clock)
        self._servers = servers
        self._journal = journal
        self._clock = clock
        self._driver = Driver("trust", bus, store, steps, PACE, clock, lock)
        self._gone = gone
        self._trust = Kept(bus, subjects.trust(), clock)
        self._rotation = Kept(bus, subjects.rotation(), clock)

    async def lead(self) -> None:
        """Drive, for as long as the lease is held; for ever."""
        self._trust = Kept(self._bus, subjects.trust(), self._clock)
        self._rotation = Kept(self._bus, subjects.rotation(), self._clock)
        endpoints: list[Endpoint[Any, Any]] = [
            Endpoint(subjects.trust_status(), self._status),
            Endpoint(subjects.trust_change(), self._change),
        ]
        unwatch = self._reloader.current.on_change(lambda _: self._driver.wake())
        try:
            await self._driver.drive(endpoints, self._look)
        finally:
            unwatch()

    async def _look(self) -> None:
        if self._steps.renew_issuer():
            await self._store.keep()
            await self._journal.tell("issuer-renewed", "another issuer below the same anchor")
        await self._reloader.look(self._journal)
        await self._publish_bundle()
        self._driver.trouble = await self._servers.see_to()
        if self._steps.progress.phase != "steady":
            await self._take_stock()
            if self._steps.progress.automatic and not self._hindrance():
                await self._take(FORWARD[self._steps.progress.phase])
                self._driver.wake()
        await self._publish_progress()

    async def _publish_bundle(self) -> None:
        bundle = self._reloader.current.value.bundle
        try:
            published = await self._trust.publish(bundle)
        except BusUnavailable:
            # A stream that was lost is made again.
            await ensure(self._bus)
            raise
        if published:
            await self._journal.tell(
                "trust-published",
                f"{len(bundle.anchors)} trust anchors of {bundle.trust_domain}",
                revision=str(self._trust.revision),
                phase=bundle.phase,
            )

    async def _publish_progress(self) -> None:
        try:
            await self._rotation.publish(self._document())
        except RevisionConflict as error:
            log.warning("progress not published", extra=fields(error=str(error)))

    async def _take_stock(self) -> None:
        """Who is there, and how far everybody is."""
        present = await self._stock.look_around()
        if self._steps.progress.phase != "steady":
            self._steps.note(members=present)
            await self._store.keep()
        bundle = self._reloader.current.value.bundle
        self._stock.take(self._steps.progress.members, bundle, self._trust.revision)
        if self._gone and await self._stock.part(self._gone):
            self._stock.take(self._steps.progress.members, bundle, self._trust.revision)

    def _hindrance(self) -> str:
        """Why the next step must wait; empty if it need not."""
        if not self._reloader.current.value.has_reached(self._steps.progress):
            return "the files of this phase are not in force"
        return self._stock.hindrance(self._steps.progress.left_behind) or self._driver.trouble

    async def _take(self, step: Step, *, distrust: bool = False) -> None:
        before = self._steps.progress.phase
        present = self._stock.roster.present()
        await self._driver.change(lambda: self._steps.take(step, present, distrust=distrust))
        # Twice, because of one look it is not known whether somebody was writing meanwhile.
        await self._reloader.look(self._journal)
        await self._reloader.look(self._journal)
        self._stock.begin_anew()
        self._driver.trouble = "the certificate of NATS was not seen to yet"
        phase = self._steps.progress.phase
        await self._journal.tell(
            "rotation", f"{step}: from {before} to {phase}", step=step, phase=phase
        )
        await self._publish_bundle()

    async def _status(self, _subject: str, _question: TrustQuestion) -> Rotation:
        async with self._driver.lock:
            await self._see()
            return self._document(always=True)

    async def _change(self, _subject: str, change: TrustChange) -> Rotation:
        async with self._driver.lock:
            try:
                await self._driver.resume()
                # Nobody can have acknowledged what was never published.
                await self._publish_bundle()
                await self._see()
                self._leave_behind(change.leave_behind)
                await self._obey(change)
                await self._store.keep()
                await self._see()
            except OSError as error:
                raise Refused(f"{error.filename}: {error.strerror}") from None
            except NotKept as error:
                self._driver.doubt()
                raise Refused(str(error)) from None
            await self._publish_progress()
            self._driver.wake()
            return self._document(always=True)

    async def _see(self) -> None:
        await self._driver.resume()
        self._driver.trouble = await self._servers.see_to()
        await self._take_stock()

    async def _obey(self, change: TrustChange) -> None:
        if change.step == "rotate":
            await self._rotate(distrust=change.distrust)
        else:
            await self._by_hand(change.step, distrust=change.distrust)
        if change.leave_behind and self._steps.progress.phase != "steady":
            self._steps.note(left_behind=change.leave_behind)

    async def _rotate(self, *, distrust: bool) -> None:
        if self._steps.progress.phase == "steady":
            self._check_trouble()
            await self._take("add", distrust=distrust)
        elif distrust and not self._steps.progress.distrusts:
            raise Refused("rotate: began with trust in the old anchor; take every step back first")
        self._steps.note(automatic=True)

    async def _by_hand(self, step: Step, *, distrust: bool) -> None:
        self._steps.check(step)
        progress = self._steps.progress
        if step == "add":
            self._check_trouble()
        elif step == "back":
            self._check_back()
        elif why := self._hindrance():
            raise Refused(f"{step}: not yet: {why}")
        if progress.phase != "steady":
            self._steps.note(automatic=False)
        await self._take(step, distrust=distrust)

    def _check_trouble(self) -> None:
        if self._driver.trouble:
            raise Refused(f"not begun: {self._driver.trouble}")

    def _check_back(self) -> None:
        """The new anchor can only go if nobody's leaf is below it, and NATS's certificate is not."""
        progress = self._steps.progress
        holding = self._stock.roster.holding(progress.new) - {*progress.left_behind}
        if progress.phase == "added" and (holding or self._driver.trouble):
            named = ", ".join(sorted(holding)[:_NAMED]) or self._driver.trouble
            raise Refused(f"back: not yet: leaves below the new anchor are held by: {named}")

    def _leave_behind(self, names: Collection[str]) -> None:
        """Who is to be left behind is remembered; raises Refused for a name that is not known."""
        known = {*self._steps.progress.members, *self._stock.roster.present()}
        if unknown := sorted({*names} - known):
            raise Refused(
                f"nobody is called {', '.join(unknown)}; expected one of {', '.join(sorted(known))}"
            )
        if self._steps.progress.phase != "steady":
            self._steps.note(left_behind=names)

    def _document(self, *, always: bool = False) -> Rotation:
        """How it is. When nothing is under way, who has not acknowledged is told only if asked for."""
        progress = self._steps.progress
        told = always or progress.phase != "steady"
        return Rotation(
            trust_domain=self._reloader.current.value.trust_domain,
            phase=progress.phase,
            since=progress.since,
            old=progress.old,
            new=progress.new or self._reloader.current.value.bundle.signing,
            automatic=progress.automatic,
            left_behind=progress.left_behind,
            acknowledged=self._stock.acknowledged if told else 0,
            waiting=self._stock.waiting if told else (),
            trouble=self._driver.trouble,
            completed=progress.completed,
        )
