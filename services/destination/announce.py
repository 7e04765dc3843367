"""What people should hear of destination: on the log at once, on the bus as soon as there is one."""

import logging
from collections import deque

import anyio

from common.bus import Bus
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
        self._bus = bus
        self._replica = replica
        self._clock = clock or SystemClock()
        self._waiting: deque[Event] = deque(maxlen=LIMIT)
        self._wake = anyio.Event()

    def tell(self, what: str, message: str, told: dict[str, str]) -> None:
        """Log it and publish it as the event `what`."""
        log.log(
            logging.INFO if what in _GOOD else logging.WARNING, "%s", message, extra=fields(**told)
        )
        self._waiting.append(
            Event(
                component="destination",
                what=what,
                message=message,
                time=self._clock.now(),
                fields={**told, "replica": self._replica},
            )
        )
        self._wake.set()

    async def run(self) -> None:
        """Publish for ever what is told."""
        while True:
            await self._wake.wait()
            self._wake = anyio.Event()
            while self._waiting:
                await self._bus.wait_connected()
                event = self._waiting[0]
                if not await self._bus.publish(subjects.event("destination", event.what), event):
                    await anyio.sleep(0.1)
                elif self._waiting and self._waiting[0] is event:
                    self._waiting.popleft()
