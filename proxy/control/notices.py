"""What people should hear of a proxy's decisions: which endpoints it has shut out and let in again."""

import logging

from common.bus import Bus, Outbox
from common.clock import Clock
from common.contract import subjects
from common.contract.events import Event
from common.log import fields
from common.names import ServiceName, WorkloadName
from proxy.decide.candidate import Candidate, What

BURST = 20
PER_SECOND = 1.0
"""So many at once, and then so many a second: a failing service must not flood the bus."""
LIMIT = 100
"""Notices that wait for the bus; beyond it the oldest are dropped."""
log = logging.getLogger(__name__)


class Notices:
    """Tells on the log, and on the bus as soon as there is one."""

    def __init__(self, bus: Bus, name: WorkloadName, clock: Clock) -> None:
        self._outbox = Outbox(bus, LIMIT)
        self._name = name
        self._clock = clock
        self._tokens = float(BURST)
        self._filled_at = clock.monotonic()
        self._untold = 0
        self.ejections = 0
        """How often an endpoint was shut out."""

    def tell(self, service: ServiceName, port: int, what: What, candidate: Candidate) -> None:
        """An endpoint of a service was shut out, or let in again."""
        self.ejections += what == "ejected"
        if not self._may_tell():
            self._untold += 1
            return
        breaker, endpoint = candidate.breaker, candidate.endpoint
        told = {
            "service": f"{service}:{port}",
            "endpoint": f"{endpoint.address}:{candidate.port}",
            "workload": endpoint.workload,
            "by": str(self._name),
        }
        who = endpoint.workload or told["endpoint"]
        if what == "ejected" and breaker is not None:
            told["penalty"] = f"{breaker.penalty:.3f}"
            message = f"{who} failed {breaker.rules.max_failures} times in a row and is left alone"
        else:
            message = f"{who} answers again"
        if self._untold:
            told["untold"] = str(self._untold)
            self._untold = 0
        log.log(
            logging.WARNING if what == "ejected" else logging.INFO,
            "%s",
            message,
            extra=fields(**told),
        )
        event = Event(
            component="proxy", what=what, message=message, time=self._clock.now(), fields=told
        )
        self._outbox.put(subjects.proxy_event(self._name, what), event)

    def _may_tell(self) -> bool:
        now = self._clock.monotonic()
        self._tokens = min(BURST, self._tokens + (now - self._filled_at) * PER_SECOND)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    async def run(self) -> None:
        """Publish for ever what is told."""
        await self._outbox.run()
