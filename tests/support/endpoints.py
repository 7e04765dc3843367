"""Endpoints to choose from, and a client that asks them in simulated time."""

import heapq
import random
from collections import Counter
from collections.abc import Callable

from common.clock import ManualClock
from common.contract.discovery import Endpoint
from proxy.decide.balance import Balancer
from proxy.decide.candidate import Candidate


class SeededClock(ManualClock):
    """A clock that moves when told to, with chance that is the same each time."""

    def __init__(self, seed: int = 1) -> None:
        super().__init__()
        self._chance = random.Random(seed)
        self.advance(1000.0)

    def random(self) -> float:
        """The next number of the seed's."""
        return self._chance.random()

    def expovariate(self, rate: float) -> float:
        """A waiting time, as between events that know nothing of each other."""
        return self._chance.expovariate(rate)

    def about(self, seconds: float) -> float:
        """From half to one and a half times so much."""
        return seconds * self._chance.uniform(0.5, 1.5)


def endpoint(name: str, **more: object) -> tuple[Endpoint, int]:
    """The endpoint called `name`, and its port."""
    values: dict[str, object] = {"ports": {"": 8000}, "workload": name, "uid": name, **more}
    return Endpoint(address=f"10.0.0.{name.rpartition('-')[2]}", **values), 8000  # type: ignore[arg-type]


def endpoints(count: int, **more: object) -> list[tuple[Endpoint, int]]:
    """web-1, web-2, …"""
    return [endpoint(f"web-{number}", **more) for number in range(1, count + 1)]


class Client:
    """Sends requests to whatever a balancer picks; each takes a while, and may fail."""

    def __init__(
        self,
        balancer: Balancer,
        clock: SeededClock,
        *,
        seconds: Callable[[str], float] = lambda _: 0.010,
        fails: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._balancer = balancer
        self._clock = clock
        self._seconds = seconds
        self._fails = fails
        self._open: list[tuple[float, int, Candidate, float]] = []
        self._sent = 0
        self.asked: Counter[str] = Counter()
        self.failed = 0

    def run(self, requests: int, per_second: float) -> None:
        """Send so many, as if many users did, each on their own."""
        for _ in range(requests):
            self._advance(self._clock.expovariate(per_second))
            self._send()

    def finish(self) -> None:
        """Wait for all answers."""
        while self._open:
            self._advance(max(0.0, self._open[0][0] - self._clock.monotonic()))

    def _send(self) -> None:
        candidate = self._balancer.pick()
        assert candidate is not None
        name, now = candidate.endpoint.workload, self._clock.monotonic()
        self.asked[name] += 1
        candidate.in_flight += 1
        self._sent += 1
        took = self._clock.about(self._seconds(name))
        heapq.heappush(self._open, (now + took, self._sent, candidate, now))

    def _advance(self, seconds: float) -> None:
        until = self._clock.monotonic() + seconds
        while self._open and self._open[0][0] <= until:
            at, _, candidate, started = heapq.heappop(self._open)
            self._clock.advance(max(0.0, at - self._clock.monotonic()))
            now = self._clock.monotonic()
            candidate.in_flight -= 1
            candidate.answered(now - started, now)
            if self._fails(candidate.endpoint.workload):
                self.failed += 1
                candidate.failed(started, now)
            else:
                candidate.passed(started)
        self._clock.advance(max(0.0, until - self._clock.monotonic()))
