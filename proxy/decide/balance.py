"""Which endpoint takes it: the better of two drawn at random, by latency and load (P2C on peak EWMA).

The power of two choices (Mitzenmacher 2001) avoids herds; the peak-sensitive moving average is
Finagle's: a slow answer counts at once, and is forgotten slowly.
"""

import math
from collections.abc import Callable, Hashable

from common.clock import Clock
from common.contract.discovery import Endpoint

DEFAULT_RTT = 0.030
"""Seconds assumed of an endpoint that has never answered."""
DECAY = 10.0
"""Seconds in which what was learned loses all but 1/e of its weight."""
FIRST_REST = 0.1
LONGEST_REST = 10.0
NORMAL_WEIGHT = 10_000


class Candidate:
    """An endpoint that can be picked, with what was learned about it."""

    __slots__ = (
        "_ewma",
        "_failures",
        "_stamp",
        "endpoint",
        "in_flight",
        "notes",
        "port",
        "rests_until",
    )

    def __init__(self, endpoint: Endpoint, port: int, now: float) -> None:
        self.endpoint = endpoint
        self.port = port
        """The application's port there."""
        self.in_flight = 0
        self.rests_until = 0.0
        """It could not be reached: not to be picked before then if there is another."""
        self.notes: dict[str, object] = {}
        """What its users want found again quickly, such as its counters."""
        self._ewma = DEFAULT_RTT
        self._stamp = now
        self._failures = 0

    def __repr__(self) -> str:
        state = "ready" if self.endpoint.ready else "not-ready"
        return (
            f"<Candidate {self.endpoint.workload} {self.endpoint.address}:{self.port} {state}"
            f" ewma={self._ewma * 1000:.1f}ms in_flight={self.in_flight}>"
        )

    def cost(self, now: float) -> float:
        """What one more request there would cost: expected seconds times the queue it would be in."""
        faded = self._ewma * math.exp((self._stamp - now) / DECAY)
        return faded * (self.in_flight + 1) * NORMAL_WEIGHT / self.endpoint.weight

    def answered(self, rtt: float, now: float) -> None:
        """It took `rtt` seconds to begin its answer."""
        self._failures = 0
        self.rests_until = 0.0
        if rtt >= self._ewma:
            self._ewma = rtt
        else:
            kept = math.exp((self._stamp - now) / DECAY)
            self._ewma = self._ewma * kept + rtt * (1 - kept)
        self._stamp = now

    def unreachable(self, now: float) -> None:
        """No connection could be made: let it rest, longer each time."""
        self.rests_until = now + min(FIRST_REST * 2.0**self._failures, LONGEST_REST)
        self._failures = min(self._failures + 1, 10)


class Balancer:
    """The endpoints of one port of a service, and which of them is next."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._candidates: dict[tuple[str, int], Candidate] = {}
        self._eligible: list[Candidate] = []
        self.left: Callable[[Endpoint, int], None] | None = None
        """Told of each endpoint and port that can be picked no longer, or not as it was."""
        self._waiting: dict[Callable[[], None], None] = {}

    def __repr__(self) -> str:
        return f"<Balancer {list(self._candidates.values())}>"

    @property
    def size(self) -> int:
        """How many endpoints are ready."""
        return len(self._eligible)

    def update(self, endpoints: list[tuple[Endpoint, int]]) -> None:
        """These are the endpoints now, each with its port; what was learned of those that stay is kept."""
        now = self._clock.monotonic()
        before = [(c.endpoint, c.port) for c in self._eligible]
        kept: dict[tuple[str, int], Candidate] = {}
        for endpoint, port in endpoints:
            candidate = self._candidates.get((endpoint.address, port))
            if candidate is None or candidate.endpoint.uid != endpoint.uid:
                candidate = Candidate(endpoint, port, now)
            elif candidate.endpoint != endpoint:
                candidate.endpoint = endpoint
                candidate.notes = {}
            kept[endpoint.address, port] = candidate
        self._candidates = kept
        self._eligible = [c for c in kept.values() if c.endpoint.ready and c.endpoint.weight]
        self._tell_who_left(before)
        waiting, self._waiting = self._waiting, {}
        for call in waiting:
            call()

    def _tell_who_left(self, before: list[tuple[Endpoint, int]]) -> None:
        if self.left is None:
            return
        after = {_place(c.endpoint, c.port) for c in self._eligible}
        for endpoint, port in before:
            if _place(endpoint, port) not in after:
                self.left(endpoint, port)

    def on_update(self, call: Callable[[], None]) -> Callable[[], None]:
        """Call once, after the next update; returns what takes that back, harmless afterwards."""
        self._waiting[call] = None
        return lambda: self._waiting.pop(call, None)

    def pick(self, avoid: Candidate | None = None) -> Candidate | None:
        """The endpoint for one more request; None if none is ready.

        `avoid` has just failed: it is picked again only if there is no other.
        """
        now = self._clock.monotonic()
        fit = self._eligible
        a, b = self._two_of(fit)
        if a is None or b is None:
            return a
        if a.rests_until > now or b.rests_until > now or a is avoid or b is avoid:
            # Seldom, so only now is every one of them looked at.
            fit = [c for c in fit if c.rests_until <= now and c is not avoid] or fit
            a, b = self._two_of(fit)
            if a is None or b is None:
                return a
        return a if a.cost(now) <= b.cost(now) else b

    def _two_of(self, fit: list[Candidate]) -> tuple[Candidate | None, Candidate | None]:
        """Two different ones, drawn evenly; fewer if there are fewer."""
        if len(fit) < 2:
            return (fit[0] if fit else None), None
        first = int(self._clock.random() * len(fit))
        second = int(self._clock.random() * (len(fit) - 1))
        return fit[first], fit[second + (second >= first)]


def _place(endpoint: Endpoint, port: int) -> Hashable:
    """What makes connections to an endpoint stand for each other, and who it is."""
    return endpoint.address, port, endpoint.identity, endpoint.proxy_port, endpoint.uid
