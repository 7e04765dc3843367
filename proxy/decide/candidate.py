"""An endpoint that can be picked, and what was learned about it: how long it takes, and how it fails."""

import math
from collections.abc import Hashable
from typing import Any, Literal
from typing import Protocol as Shape

from common.contract.discovery import Endpoint
from proxy.decide.breaker import Breaker, State

DEFAULT_RTT = 0.030
"""Seconds assumed of an endpoint as long as none of its kind has answered."""
LEAST_RTT = 0.0005
"""The event loop's clock has steps of a millisecond: without a floor, queues would count for nothing."""
DECAY = 10.0
"""Seconds in which what was learned loses all but 1/e of its weight."""
FIRST_REST = 0.1
LONGEST_REST = 10.0
FADE_STEP = 0.25
"""What was learned fades in steps of so many seconds, which is cheaper than to work it out each time."""
NEVER = math.inf
What = Literal["ejected", "readmitted"]


class Home(Shape):
    """The balancer that it belongs to."""

    def chance(self) -> float:
        """A number in [0, 1)."""
        ...

    def look(self) -> None:
        """What a candidate said of itself has changed."""
        ...

    def changed(self, what: What, candidate: "Candidate") -> None:
        """A candidate's breaker opened or closed."""
        ...

    def learned(self, rtt: float, now: float) -> None:
        """A candidate answered for the first time, in `rtt` seconds."""
        ...


class Candidate:
    """An endpoint that can be picked, with what was learned about it. Times are monotonic seconds."""

    __slots__ = (
        "_failures",
        "_home",
        "_known",
        "available",
        "breaker",
        "endpoint",
        "ewma",
        "in_flight",
        "notes",
        "port",
        "rests_until",
        "share",
        "stamp",
        "warms_since",
    )

    def __init__(self, endpoint: Endpoint, port: int, home: Home, now: float) -> None:
        self.endpoint = endpoint
        self.port = port
        """The application's port there."""
        self.in_flight = 0
        self.rests_until = 0.0
        """It could not be reached: not to be picked before then if there is another."""
        self.breaker: Breaker | None = None
        """Absent where the service does not ask for one."""
        self.available = True
        """Neither resting nor broken, when the balancer last looked."""
        self.warms_since = NEVER
        """NEVER once it is warm."""
        self.share = 1.0
        """Its weight now, as a multiple of the mean."""
        self.notes: dict[Hashable, Any] = {}
        """What its users want found again quickly, such as its counters."""
        self.ewma = DEFAULT_RTT
        self._home = home
        self._known = False
        self.stamp = now
        self._failures = 0

    def __repr__(self) -> str:
        state = "ready" if self.endpoint.ready else "not-ready"
        broken = "" if self.breaker is None else f" {self.breaker.state.value}"
        return (
            f"<Candidate {self.endpoint.workload} {self.endpoint.address}:{self.port} {state}{broken}"
            f" ewma={self.ewma * 1000:.1f}ms in_flight={self.in_flight}>"
        )

    @property
    def known(self) -> bool:
        """It has answered."""
        return self._known

    def cost(self, now: float) -> float:
        """What one more request there would cost: expected seconds times the queue it would be in."""
        if now - self.stamp > FADE_STEP:
            self.ewma *= math.exp((self.stamp - now) / DECAY)
            self.stamp = now
        return self.ewma * (self.in_flight / self.share + 1)

    def assume(self, rtt: float, now: float) -> None:
        """Nothing is known of it: others take `rtt` seconds."""
        self.ewma = rtt
        self.stamp = now

    def answered(self, rtt: float, now: float) -> None:
        """It took `rtt` seconds to begin its answer."""
        if self._failures:
            self._failures = 0
            self.rests_until = 0.0
            self._home.look()
        if rtt < LEAST_RTT:
            rtt = LEAST_RTT
        if rtt >= self.ewma:
            self.ewma = rtt
        elif self._known:
            kept = math.exp((self.stamp - now) / DECAY)
            self.ewma = self.ewma * kept + rtt * (1 - kept)
        else:
            self.ewma = rtt
        self.stamp = now
        if not self._known:
            self._known = True
            self._home.learned(rtt, now)

    def kept_waiting(self, seconds: float, now: float) -> None:
        """It did not begin its answer in `seconds`, and nobody waits any longer."""
        if seconds > self.ewma:
            self.ewma = seconds
            self.stamp = now
            self._known = True

    def unreachable(self, now: float) -> None:
        """No connection could be made: let it rest, longer each time."""
        if now < self.rests_until:
            # Of all that wait for one connection each says so: that is still one failure.
            return
        self.rests_until = now + min(FIRST_REST * 2.0**self._failures, LONGEST_REST)
        self._failures = min(self._failures + 1, 10)
        self._home.look()
        self.failed(now, now)

    def passed(self, started: float) -> None:
        """What was sent at `started` went well."""
        if self.breaker is not None and self.breaker.passed(started):
            self._home.changed("readmitted", self)

    def failed(self, started: float, now: float) -> None:
        """What was sent at `started` failed there."""
        breaker = self.breaker
        if breaker is None:
            return
        was_closed = breaker.state is State.CLOSED
        if breaker.failed(started, now, self._home.chance()):
            self._home.look()
            if was_closed:
                self._home.changed("ejected", self)

    def vanished(self, started: float, now: float) -> None:
        """What was sent at `started` says nothing about it."""
        if self.breaker is not None and self.breaker.vanished(started, now):
            self._home.look()

    def probe(self, now: float) -> None:
        """The next request is sent there to see how it fares."""
        if self.breaker is not None and self.breaker.probe(now):
            self._home.changed("readmitted", self)
        self._home.look()
