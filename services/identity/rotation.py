"""Drives rotations of the trust anchor, by the replica that holds the lease, and tells everybody of it.

Each look: take up changed files, publish the bundle, see to the certificate of NATS, ask who is there, and
go on if everybody has what this phase asks of them. What is asked for by hand waits for the same.
"""

import logging
from collections.abc import Collection
from typing import Any

import anyio

from common.backoff import Backoff
from common.bus import Bus, Endpoint
from common.bus.streams import ensure
from common.clock import Clock
from common.contract import subjects
from common.contract.identity import Rotation, TrustChange, TrustQuestion, Waiting
from common.errors import BusUnavailable, InvalidSettings, Refused, RevisionConflict
from common.lease import Lease
from common.log import fields
from services.identity.bundle import Kept
from services.identity.inputs import Reloader
from services.identity.journal import Journal
from services.identity.presence import Presence
from services.identity.progress import FORWARD, Step
from services.identity.roster import Roster, Standing, Wanted
from services.identity.server_files import ServerFiles
from services.identity.steps import Steps

log = logging.getLogger(__name__)

VERSION = "0.1.0"
LOOK_SECONDS = 0.5
"""While a rotation is under way."""
QUIET_SECONDS = 5.0
"""While none is."""
_NAMED = 5


class Rotator:
    """Everything that one replica does about trust: nothing, unless it holds the lease."""

    def __init__(
        self,
        bus: Bus,
        lease: Lease,
        *,
        reloader: Reloader,
        steps: Steps,
        presence: Presence,
        servers: ServerFiles,
        journal: Journal,
        clock: Clock,
    ) -> None:
        self._bus = bus
        self._lease = lease
        self._reloader = reloader
        self._steps = steps
        self._roster = Roster(clock)
        self._presence = presence
        self._servers = servers
        self._journal = journal
        self._clock = clock
        self._backoff = Backoff(clock)
        self._lock = anyio.Lock()
        self._wake = anyio.Event()
        self._trust = Kept(bus, subjects.trust(), clock)
        self._rotation = Kept(bus, subjects.rotation(), clock)
        self._standing = Standing()
        self._trouble = ""
        self._asked = -LOOK_SECONDS
        self._since: dict[str, float] = {}

    async def run(self) -> None:
        """Listen, contend for the lease, and drive while it is held; for ever."""
        await self._bus.listen(subjects.ack_any(), self._roster.hear)
        await self._bus.listen(subjects.lifecycle_any(), self._roster.enter)
        unwatch = self._reloader.current.on_change(lambda _: self._wake.set())
        try:
            await self._prepare()
            await self._lease.run(self._lead)
        finally:
            unwatch()

    async def _prepare(self) -> None:
        """See to the streams, in one of which the lease is."""
        while True:
            await self._bus.wait_connected()
            try:
                await ensure(self._bus)
            except BusUnavailable as error:
                log.warning("the bus is not prepared", extra=fields(error=str(error)))
                await anyio.sleep(self._backoff.next())
            else:
                self._backoff.reset()
                return

    async def _lead(self) -> None:
        self._trust = Kept(self._bus, subjects.trust(), self._clock)
        self._rotation = Kept(self._bus, subjects.rotation(), self._clock)
        self._steps.resume()
        endpoints: list[Endpoint[Any, Any]] = [
            Endpoint(subjects.trust_status(), self._status),
            Endpoint(subjects.trust_change(), self._change),
        ]
        service = await self._bus.serve("identity", VERSION, endpoints, queue="identity")
        try:
            while True:
                wait = await self._look_once()
                with anyio.move_on_after(wait):
                    await self._wake.wait()
                self._wake = anyio.Event()
        finally:
            with anyio.CancelScope(shield=True):
                await service.stop()

    async def _look_once(self) -> float:
        """Look; returns in how many seconds to look again. What goes wrong is told and tried again."""
        try:
            async with self._lock:
                await self._look()
        except (BusUnavailable, RevisionConflict, InvalidSettings, OSError) as error:
            log.warning("trust not seen to", extra=fields(error=str(error)))
            self._trouble = str(error)
            return self._backoff.next()
        self._backoff.reset()
        return QUIET_SECONDS if self._steps.progress.phase == "steady" else LOOK_SECONDS

    async def _look(self) -> None:
        await self._bus.wait_connected()
        if self._steps.renew_issuer():
            await self._journal.tell("issuer-renewed", "another issuer below the same anchor")
        await self._reloader.look(self._journal)
        await self._publish_bundle()
        self._trouble = await self._servers.see_to()
        if self._steps.progress.phase != "steady":
            await self._take_stock()
            if self._steps.progress.automatic and not self._hindrance():
                await self._take(FORWARD[self._steps.progress.phase])
                self._wake.set()
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
        """Who is there, and how far everybody is; NATS is not asked twice within a moment."""
        moment = self._clock.monotonic()
        if moment - self._asked >= LOOK_SECONDS:
            self._roster.connect(await self._presence.names())
            self._asked = self._clock.monotonic()
        present = self._roster.present()
        self._steps.note(members=present)
        names = {*self._steps.progress.members, *present} - self._roster.departed
        wanted = Wanted.of(self._reloader.current.value.bundle, self._trust.revision)
        self._standing = self._roster.standing(names, wanted)
        now = self._clock.now()
        self._since = {name: self._since.get(name, now) for name in self._standing.waiting}

    def _hindrance(self) -> str:
        """Why the next step must wait; empty if it need not."""
        left = self._steps.progress.left_behind
        waiting = {n: why for n, why in self._standing.waiting.items() if n not in left}
        if waiting:
            return _shown(waiting, self._since, self._clock.now())
        return self._trouble

    async def _take(self, step: Step, *, distrust: bool = False) -> None:
        before = self._steps.progress.phase
        self._steps.take(step, self._roster.present(), distrust=distrust)
        # Twice, because of one look it is not known whether somebody was writing meanwhile.
        await self._reloader.look(self._journal)
        await self._reloader.look(self._journal)
        self._since = {}
        self._standing = Standing()
        self._trouble = "the certificate of NATS was not seen to yet"
        phase = self._steps.progress.phase
        await self._journal.tell(
            "rotation", f"{step}: from {before} to {phase}", step=step, phase=phase
        )
        await self._publish_bundle()

    async def _status(self, _subject: str, _question: TrustQuestion) -> Rotation:
        async with self._lock:
            self._trouble = await self._servers.see_to()
            await self._take_stock()
            return self._document(always=True)

    async def _change(self, _subject: str, change: TrustChange) -> Rotation:
        async with self._lock:
            self._trouble = await self._servers.see_to()
            await self._take_stock()
            self._leave_behind(change.leave_behind)
            if change.step == "rotate":
                await self._rotate(distrust=change.distrust)
            else:
                await self._by_hand(change.step, distrust=change.distrust)
            if change.leave_behind:
                self._steps.note(left_behind=change.leave_behind)
            self._trouble = await self._servers.see_to()
            await self._take_stock()
            await self._publish_progress()
            self._wake.set()
            return self._document(always=True)

    async def _rotate(self, *, distrust: bool) -> None:
        if self._steps.progress.phase == "steady":
            self._check_trouble()
            await self._take("add", distrust=distrust)
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
        if self._trouble:
            raise Refused(f"not begun: {self._trouble}")

    def _check_back(self) -> None:
        """The new anchor can only go if nobody's leaf is below it, and NATS's certificate is not."""
        progress = self._steps.progress
        holding = self._roster.holding(progress.new) - {*progress.left_behind}
        if progress.phase == "added" and (holding or self._trouble):
            named = ", ".join(sorted(holding)[:_NAMED]) or self._trouble
            raise Refused(f"back: not yet: leaves below the new anchor are held by: {named}")

    def _leave_behind(self, names: Collection[str]) -> None:
        """Who is to be left behind is remembered; raises Refused for a name that is not known."""
        known = {*self._steps.progress.members, *self._roster.present()}
        if unknown := sorted({*names} - known):
            raise Refused(
                f"nobody is called {', '.join(unknown)}; expected one of {', '.join(sorted(known))}"
            )
        if self._steps.progress.phase != "steady":
            self._steps.note(left_behind=names)

    def _document(self, *, always: bool = False) -> Rotation:
        """How it is. When nothing is under way, who has not acknowledged is told only if asked for."""
        progress, now = self._steps.progress, self._clock.now()
        standing = self._standing if always or progress.phase != "steady" else Standing()
        waiting = (
            Waiting(name=name, why=why, since=self._since.get(name, now))
            for name, why in standing.waiting.items()
        )
        return Rotation(
            trust_domain=self._reloader.current.value.trust_domain,
            phase=progress.phase,
            since=progress.since,
            old=progress.old,
            new=progress.new or self._reloader.current.value.bundle.signing,
            automatic=progress.automatic,
            left_behind=progress.left_behind,
            acknowledged=len(standing.current),
            waiting=tuple(waiting),
            trouble=self._trouble,
            completed=progress.completed,
        )


def _shown(waiting: dict[str, str], since: dict[str, float], now: float) -> str:
    """Whom it waits for, for how long and why; not all of them if there are many."""
    parts = [
        f"{name} ({why}; waited for {now - since.get(name, now):.0f} s)"
        for name, why in list(waiting.items())[:_NAMED]
    ]
    more = len(waiting) - len(parts)
    return "; ".join(parts) + (f"; and {more} more" if more > 0 else "")
