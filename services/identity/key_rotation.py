"""Drives rotations of the bus's own keys, by the replica that holds the lease.

Each look: have NATS read its configuration, see who is connected with which key, ask to leave whoever has the
old one, and take the next step when nobody is waited for.
"""

import logging
from collections.abc import Collection
from typing import Any

import anyio

from common.backoff import Backoff
from common.bus import Bus, Endpoint
from common.clock import Clock
from common.contract import subjects
from common.contract.identity import KeyRotation, KeysChange, KeysQuestion, Waiting
from common.errors import BusUnavailable, InvalidSettings, Refused
from common.log import fields
from common.version import VERSION
from services.identity.holders import HOLDERS, Holders
from services.identity.journal import Journal
from services.identity.key_steps import KeySteps
from services.identity.server_files import ServerFiles
from services.identity.store import NotKept, Store

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.25
"""While a rotation is under way."""
QUIET_SECONDS = 60.0
"""While none is."""


class KeyRotator:
    """Everything that the replica does about the bus's own keys that holds the lease."""

    def __init__(
        self,
        bus: Bus,
        *,
        store: Store,
        steps: KeySteps,
        holders: Holders,
        servers: ServerFiles,
        journal: Journal,
        clock: Clock,
        lock: anyio.Lock,
    ) -> None:
        """With `lock` nobody else changes the mesh directory."""
        self._bus = bus
        self._store = store
        self._steps = steps
        self._holders = holders
        self._servers = servers
        self._journal = journal
        self._clock = clock
        self._backoff = Backoff(clock)
        self._lock = lock
        self._wake = anyio.Event()
        self._resumed = False
        self._waiting: tuple[Waiting, ...] = ()
        self._trouble = ""

    async def lead(self) -> None:
        """Drive, for as long as the lease is held; for ever."""
        self._resumed = False
        endpoints: list[Endpoint[Any, Any]] = [
            Endpoint(subjects.keys_status(), self._status),
            Endpoint(subjects.keys_change(), self._change),
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
                await self._bus.wait_connected()
                await self._resume()
                self._steps.forget()
                await self._store.keep()
                if self._steps.progress.phase != "steady" and await self._is_time():
                    await self._take()
        except (BusUnavailable, InvalidSettings, NotKept, OSError) as error:
            log.warning("keys not seen to", extra=fields(error=str(error)))
            self._trouble, self._resumed = str(error), False
            return self._backoff.next()
        self._backoff.reset()
        return QUIET_SECONDS if self._steps.progress.phase == "steady" else LOOK_SECONDS

    async def _resume(self) -> None:
        """Once for each time that the lease is ours: whoever had it before may have changed the files.

        And whenever something failed, because nobody knows how far it got.
        """
        if not self._resumed:
            await self._store.look()
            self._steps.resume()
            await self._store.keep()
            self._resumed = True

    async def _is_time(self) -> bool:
        """Do what this phase asks for; says whether all is done."""
        progress = self._steps.progress
        self._trouble = await self._servers.see_to()
        if progress.phase == "switched":
            await self._hand_over()
        else:
            away = await self._servers.away()
            self._note_waiting(dict.fromkeys(away, "does not answer: it is to read its files"))
        left = [one for one in self._waiting if one.name not in progress.left_behind]
        return not left and not self._trouble

    async def _hand_over(self) -> None:
        """Whoever has an old key is asked to come with the new one."""
        if "services" not in self._steps.progress.what:
            return
        held = await self._holders.look(self._steps.progress)
        self._steps.note(members={one.holder for one in held})
        await self._store.keep()
        self._waiting = self._holders.waiting(self._steps.progress, held)
        for holder in await self._holders.kick(self._steps.progress, held):
            await self._journal.tell(
                "key-asked-for", f"{holder} is asked to come with its new key", holder=holder
            )

    def _note_waiting(self, why: dict[str, str]) -> None:
        since = {one.name: one.since for one in self._waiting}
        now = self._clock.now()
        self._waiting = tuple(
            Waiting(name=name, why=why[name], since=since.get(name, now)) for name in sorted(why)
        )

    async def _take(self) -> None:
        before = self._steps.progress
        # If it fails half way, the files are laid out anew before anything else is done.
        self._resumed = False
        self._steps.take()
        await self._store.keep()
        self._resumed = True
        await self._began(before.phase, before.what)

    async def _began(self, before: str, what: Collection[str]) -> None:
        self._holders.begin_anew()
        self._waiting, self._trouble = (), ""
        self._wake.set()
        phase = self._steps.progress.phase
        await self._journal.tell(
            "key-rotation", f"from {before} to {phase}", phase=phase, keys=", ".join(what)
        )

    async def _status(self, _subject: str, _question: KeysQuestion) -> KeyRotation:
        async with self._lock:
            await self._resume()
            return self._document()

    async def _change(self, _subject: str, change: KeysChange) -> KeyRotation:
        async with self._lock:
            try:
                await self._resume()
                await self._obey(change)
                await self._store.keep()
            except OSError as error:
                raise Refused(f"{error.filename}: {error.strerror}") from None
            except (NotKept, InvalidSettings, BusUnavailable) as error:
                self._resumed = False
                raise Refused(str(error)) from None
            self._wake.set()
            return self._document()

    async def _obey(self, change: KeysChange) -> None:
        progress = self._steps.progress
        known = {*HOLDERS, *self._servers.names()}
        if unknown := sorted({*change.leave_behind} - known):
            raise Refused(
                f"nobody is called {', '.join(unknown)}; expected one of {', '.join(sorted(known))}"
            )
        if change.back:
            self._resumed = False
            self._steps.turn_back()
            await self._store.keep()
            self._resumed = True
            await self._began(progress.phase, progress.what)
        elif progress.phase == "steady":
            await self._begin(change)
        elif {*change.what} - {*progress.what}:
            raise Refused(f"another rotation is under way: of {', '.join(progress.what)}")
        elif change.distrust and not progress.distrusts:
            raise Refused("began with trust in the old keys; rotate again when it is done")
        if change.leave_behind:
            self._steps.note(left_behind=change.leave_behind)

    async def _begin(self, change: KeysChange) -> None:
        if trouble := await self._servers.see_to():
            raise Refused(f"not begun: {trouble}")
        held = await self._holders.look(self._steps.progress)
        self._resumed = False
        self._steps.begin(change.what, distrust=change.distrust)
        self._steps.note(members={one.holder for one in held})
        await self._store.keep()
        self._resumed = True
        await self._began("steady", self._steps.progress.what)

    def _document(self) -> KeyRotation:
        progress = self._steps.progress
        return KeyRotation(
            phase=progress.phase,
            since=progress.since,
            what=progress.what,
            back=progress.coming == "old",
            keys=self._steps.ages(),
            left_behind=progress.left_behind,
            waiting=self._waiting,
            trouble=self._trouble,
            completed=progress.completed,
        )
