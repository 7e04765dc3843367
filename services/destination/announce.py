"""What people should hear of destination: on the log at once, on the bus as soon as there is one."""

import logging

from common.bus import Bus, Outbox
from common.clock import Clock, SystemClock
from common.contract import subjects
from common.contract.events import Event
from common.log import fields

log = logging.getLogger(__name__)

LIMIT = 1_000
"""Events that wait for the bus; beyond it the oldest are dropped."""
_GOOD = frozenset({"accepted", "leading"})


class Announcer:
    """Tells what happened; while the bus is away, events wait."""

    def __init__(self, bus: Bus, replica: str, clock: Clock | None = None) -> None:
        self._outbox = Outbox(bus, LIMIT)
        self._replica = replica
        self._clock = clock or SystemClock()

    def tell(self, what: str, message: str, told: dict[str, str]) -> None:
        """Log it and publish it as the event `what`."""
        log.log(
            logging.INFO if what in _GOOD else logging.WARNING, "%s", message, extra=fields(**told)
        )
        event = Event(
            component="destination",
            what=what,
            message=message,
            time=self._clock.now(),
            fields={**told, "replica": self._replica},
        )
        self._outbox.put(subjects.event("destination", what), event)

    async def run(self) -> None:
        """Publish for ever what is told."""
        await self._outbox.run()
