"""Drives rotations of the bus's own keys, by the replica that holds the lease.

Each look: have NATS read its configuration, see who is connected with which key, ask to leave whoever has the
old one, and take the next step when nobody is waited for.
"""

from collections.abc import Collection
from typing import Any

import anyio

from common.bus import Bus, Endpoint
from common.clock import Clock
from common.contract import subjects
from common.contract.identity import KeyRotation, KeysChange, KeysQuestion, Waiting
from common.errors import BusUnavailable, InvalidSettings, Refused
from services.identity.driver import Driver, Pace
from services.identity.holders import HOLDERS, Holders
from services.identity.journal import Journal
from services.identity.key_steps import KeySteps
from services.identity.server_files import ServerFiles
from services.identity.stock import waited
from services.identity.store import NotKept, Store

PACE = Pace(busy=0.25, quiet=60.0)


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
        self._store = store
        self._steps = steps
        self._holders = holders
        self._servers = servers
        self._journal = journal
        self._clock = clock
        self._driver = Driver("keys", bus, store, steps, PACE, clock, lock)
        self._waiting: tuple[Waiting, ...] = ()

    async def lead(self) -> None:
        """Drive, for as long as the lease is held; for ever."""
        endpoints: list[Endpoint[Any, Any]] = [
            Endpoint(subjects.keys_status(), self._status),
            Endpoint(subjects.keys_change(), self._change),
        ]
        await self._driver.drive(endpoints, self._look)

    async def _look(self) -> None:
        self._steps.forget()
        await self._store.keep()
        if self._steps.progress.phase != "steady" and await self._is_time():
            before = self._steps.progress
            await self._driver.change(self._steps.take)
            await self._began(before.phase, before.what)

    async def _is_time(self) -> bool:
        """Do what this phase asks for; says whether all is done."""
        progress = self._steps.progress
        self._driver.trouble = await self._servers.see_to()
        if progress.phase == "switched":
            await self._hand_over()
        else:
            away = await self._servers.away()
            why = dict.fromkeys(sorted(away), "does not answer: it is to read its files")
            self._waiting = waited(why, self._waiting, self._clock.now())
        left = [one for one in self._waiting if one.name not in progress.left_behind]
        return not left and not self._driver.trouble

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

    async def _began(self, before: str, what: Collection[str]) -> None:
        self._holders.begin_anew()
        self._waiting, self._driver.trouble = (), ""
        self._driver.wake()
        phase = self._steps.progress.phase
        await self._journal.tell(
            "key-rotation", f"from {before} to {phase}", phase=phase, keys=", ".join(what)
        )

    async def _status(self, _subject: str, _question: KeysQuestion) -> KeyRotation:
        async with self._driver.lock:
            await self._driver.resume()
            return self._document()

    async def _change(self, _subject: str, change: KeysChange) -> KeyRotation:
        async with self._driver.lock:
            try:
                await self._driver.resume()
                await self._obey(change)
                await self._store.keep()
            except OSError as error:
                raise Refused(f"{error.filename}: {error.strerror}") from None
            except (NotKept, InvalidSettings, BusUnavailable) as error:
                self._driver.doubt()
                raise Refused(str(error)) from None
            self._driver.wake()
            return self._document()

    async def _obey(self, change: KeysChange) -> None:
        progress = self._steps.progress
        known = {*HOLDERS, *self._servers.names()}
        if unknown := sorted({*change.leave_behind} - known):
            raise Refused(
                f"nobody is called {', '.join(unknown)}; expected one of {', '.join(sorted(known))}"
            )
        if change.back:
            await self._driver.change(self._steps.turn_back)
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

        def begin() -> None:
            self._steps.begin(change.what, distrust=change.distrust)
            self._steps.note(members={one.holder for one in held})

        await self._driver.change(begin)
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
            trouble=self._driver.trouble,
            completed=progress.completed,
        )
