"""What happened, for people: each thing once on the log and once on the bus, and counted."""

import logging
from collections import Counter

from common.bus import Bus
from common.clock import Clock
from common.contract import subjects
from common.contract.events import Event
from common.log import fields
from services.identity.flood import Flood

_OF_ONE = 30, 1.0
"""Told at most of each kind of thing about one workload, at once and each second: more than it is certified."""
_OF_STRANGERS = 100, 20.0
"""… and about all whom nobody knows: who knocks in vain all day must not fill disks and streams."""


class Journal:
    """Tells what happened; of too much at once, only how much it was.

    Every workload has a share of its own, in which each of its certificates has its place, whoever else
    makes noise.
    """

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self.counts: Counter[str] = Counter()
        """How often each thing happened since the start."""
        self._bus = bus
        self._clock = clock
        self._known = Flood(clock, *_OF_ONE)
        self._strangers = Flood(clock, *_OF_STRANGERS)
        self._untold: Counter[str] = Counter()
        self._log = logging.getLogger("services.identity")

    async def tell(self, what: str, message: str, **details: str) -> None:
        """`what` is one word with dashes, `message` is for people, `details` are shown with both.

        A detail `workload` is somebody who has shown who they are. Never raises. Nothing secret is ever
        a detail.
        """
        self.counts[what] += 1
        workload = details.get("workload")
        flood = self._known if workload else self._strangers
        if not flood.allows((what, workload)):
            self._untold[what] += 1
            return
        if untold := self._untold.pop(what, 0):
            details["untold_before"] = str(untold)
        level = logging.WARNING if what.startswith("refused") else logging.INFO
        self._log.log(level, message, extra=fields(what=what, **details))
        event = Event(
            component="identity",
            what=what,
            message=message,
            time=self._clock.now(),
            fields=details,
        )
        await self._bus.publish(subjects.event("identity", what), event)
