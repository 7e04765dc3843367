"""Drives one kind of rotation, for as long as the lease is held: looks, now and again, and changes durably.

What a rotation of the anchor and one of keys have in common: how they go on where others have stopped, what
becomes of a change that fails half way, and when it is looked again.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import anyio

from common.backoff import Backoff
from common.bus import Bus, Endpoint
from common.clock import Clock
from common.contract.identity import RotationPhase
from common.errors import BusUnavailable, InvalidSettings, RevisionConflict
from common.log import fields
from common.version import VERSION
from services.identity.store import NotKept, Store

log = logging.getLogger(__name__)


class HasPhase(Protocol):
    """The progress of a rotation."""

    @property
    def phase(self) -> RotationPhase:
        """`steady`, or how far it is."""
        ...


class Resumable(Protocol):
    """The steps of a rotation, taken on files."""

    @property
    def progress(self) -> HasPhase:
        """How far it is."""
        ...

    def resume(self) -> None:
        """Go on where whoever was here before has stopped. Raises InvalidSettings or OSError."""
        ...


@dataclass(frozen=True)
class Pace:
    """How often it is looked, in seconds."""

    busy: float
    """While a rotation is under way."""
    quiet: float
    """While none is."""


class Driver:
    """Of one kind of rotation, called `name` in the log. With `lock` nobody else changes the mesh directory."""

    def __init__(
        self,
        name: str,
        bus: Bus,
        store: Store,
        steps: Resumable,
        pace: Pace,
        clock: Clock,
        lock: anyio.Lock,
    ) -> None:
        self.trouble = ""
        """What it waits for besides others."""
        self.lock = lock
        self._name = name
        self._bus = bus
        self._store = store
        self._steps = steps
        self._pace = pace
        self._backoff = Backoff(clock)
        self._wake = anyio.Event()
        self._resumed = False

    def wake(self) -> None:
        """There is something to look at."""
        self._wake.set()

    async def drive(
        self, endpoints: Sequence[Endpoint[Any, Any]], look: Callable[[], Awaitable[None]]
    ) -> None:
        """Answer, and look; for ever."""
        self._resumed = False
        service = await self._bus.serve("identity", VERSION, endpoints, queue="identity")
        try:
            while True:
                wait = await self._look_once(look)
                with anyio.move_on_after(wait):
                    await self._wake.wait()
                self._wake = anyio.Event()
        finally:
            with anyio.CancelScope(shield=True):
                await service.stop()

    async def resume(self) -> None:
        """Once for each time that the lease is ours: whoever had it before may have changed the files.

        And whenever something failed, because nobody knows how far it got. Raises NotKept, InvalidSettings
        or OSError.
        """
        if not self._resumed:
            await self._store.look()
            self._steps.resume()
            await self._store.keep()
            self._resumed = True

    async def change(self, make: Callable[[], None]) -> None:
        """Make a change of the files, and have it kept. Raises what `make` does, and NotKept."""
        # If it fails half way, the files are laid out anew before anything else is done.
        self._resumed = False
        make()
        await self._store.keep()
        self._resumed = True

    def doubt(self) -> None:
        """A change was not kept: what it was made of is read again."""
        self._resumed = False

    async def _look_once(self, look: Callable[[], Awaitable[None]]) -> float:
        """Look; returns in how many seconds to look again. What goes wrong is told and tried again."""
        try:
            async with self.lock:
                await self._bus.wait_connected()
                await self.resume()
                await look()
        except (BusUnavailable, RevisionConflict, InvalidSettings, NotKept, OSError) as error:
            log.warning("%s not seen to", self._name, extra=fields(error=str(error)))
            self.trouble, self._resumed = str(error), False
            return self._backoff.next()
        self._backoff.reset()
        return self._pace.quiet if self._steps.progress.phase == "steady" else self._pace.busy
