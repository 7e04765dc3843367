"""Which endpoint takes it: the better of two drawn at random, by latency and load (P2C on peak EWMA).

The power of two choices (Mitzenmacher 2001) avoids herds; the peak-sensitive moving average is
Finagle's: a slow answer counts at once, and is forgotten slowly.

    weights     decide how often an endpoint is drawn; of two that were drawn, the shorter queue for its
                weight wins. (Were cost divided by weight instead, small ones would starve at low load.)
    slow start  an endpoint that joins others begins with a tenth of its weight
    resting     one that could not be connected to, for as long as there is another
    broken      one whose breaker is open (see breaker), unless that leaves too few: PANIC_SHARE
    spare       one in another zone, asked when none of the zone's own is available
"""

from bisect import bisect_right
from collections.abc import Callable, Hashable, Sequence
from itertools import accumulate

from common.clock import Clock
from common.contract.discovery import Endpoint, FailureAccrual
from proxy.decide.breaker import Breaker, State
from proxy.decide.candidate import FADE_STEP, NEVER, Candidate, What

WARM_UP = 10.0
"""Seconds in which a new endpoint's weight rises from a tenth to all of it."""
COLD = 0.1
PANIC_SHARE = 0.3
"""If a smaller part of the endpoints that can be connected to is not broken, broken ones are asked as well.

So many failures at once are more likely the fault of what all depend on, or of too much load, and the few
that are left would drown. One of three may still carry all: that is the most common service there is, and
if it cannot, it breaks too and all three are asked. Even in a panic, of two that were drawn the one that
is not broken takes it, which gives each of these at most twice its share.
"""
CLEARLY = 0.8
"""Where endpoints differ in weight, the second of two is taken if it costs so much less than the first.

What is asked seldom has faded more: taking whatever is cheaper would favour the light ones.
"""
_WARM_STEP = 0.1


class Balancer:
    """The endpoints of one port of a service, and which of them is next.

    `tell(what, candidate)` hears of each that is shut out and let in again.
    """

    def __init__(self, clock: Clock, tell: Callable[[What, Candidate], None] | None = None) -> None:
        self.chance = clock.random
        self._monotonic = clock.monotonic
        self._tell = tell
        self._candidates: dict[tuple[str, int], Candidate] = {}
        self._eligible: list[Candidate] = []
        self._spare: list[Candidate] = []
        self.left: Callable[[Endpoint, int], None] | None = None
        """Told of each endpoint and port that can be picked no longer, or not as it was."""
        self._waiting: dict[Callable[[], None], None] = {}
        self._learned = False
        # What follows is worked out by _sort and holds until _stale_at.
        self._stale_at = 0.0
        self._fit: Sequence[Candidate] = ()
        self._others = -1
        self._sums: list[float] = []
        """Running sums of the shares of those that are fit; empty if all are equal."""
        self._due: list[Candidate] = []
        """Those that a probe may go to."""
        self._plain_until = 0.0
        """Until then a pick is two equal chances and a comparison."""

    def __repr__(self) -> str:
        return f"<Balancer {list(self._candidates.values())}>"

    @property
    def size(self) -> int:
        """How many endpoints are ready."""
        return len(self._eligible)

    def update(
        self,
        endpoints: Sequence[tuple[Endpoint, int]],
        accrual: FailureAccrual | None = None,
        spare: Sequence[tuple[Endpoint, int]] = (),
    ) -> None:
        """These are the endpoints now, each with its port; what was learned of those that stay is kept.

        With `accrual` they have breakers. `spare` are asked only when no other is available.
        """
        now = self._monotonic()
        served = any(c.known or c.in_flight for c in self._eligible)
        before = {*self._eligible, *self._spare}
        places = [(c.endpoint, c.port) for c in before]
        kept: dict[tuple[str, int], Candidate] = {}
        for endpoint, port in (*endpoints, *spare):
            candidate = self._candidates.get((endpoint.address, port))
            if candidate is None or candidate.endpoint.uid != endpoint.uid:
                candidate = Candidate(endpoint, port, self, now)
            elif candidate.endpoint != endpoint:
                candidate.endpoint = endpoint
                candidate.notes = {}
            kept[endpoint.address, port] = candidate
        self._candidates = kept
        ready = [(key, c) for key, c in kept.items() if c.endpoint.ready and c.endpoint.weight]
        apart = {(endpoint.address, port) for endpoint, port in spare}
        self._eligible = [c for key, c in ready if key not in apart]
        self._spare = [c for key, c in ready if key in apart]
        self._guard(accrual)
        if served:
            self._welcome([c for c in self._eligible if c not in before], now)
        self.look()
        self._tell_who_left(places)
        waiting, self._waiting = self._waiting, {}
        for call in waiting:
            call()

    def _tell_who_left(self, before: list[tuple[Endpoint, int]]) -> None:
        if self.left is None:
            return
        after = {_place(c.endpoint, c.port) for c in (*self._eligible, *self._spare)}
        for endpoint, port in before:
            if _place(endpoint, port) not in after:
                self.left(endpoint, port)

    def on_update(self, call: Callable[[], None]) -> None:
        """Call once, after the next update; however often this was asked for."""
        self._waiting[call] = None

    def forget(self, call: Callable[[], None]) -> None:
        """Do not call after all."""
        self._waiting.pop(call, None)

    def pick(self, avoid: Candidate | None = None) -> Candidate | None:
        """The endpoint for one more request; None if none is ready.

        `avoid` has just failed: it is picked again only if there is no other.
        """
        now = self._monotonic()
        if now >= self._plain_until or avoid is not None:
            return self._pick_with_care(now, avoid)
        fit, others = self._fit, self._others
        if others <= 0:
            return fit[0] if fit else None
        # One chance draws both: the first of n, the second of the n - 1 others.
        drawn = int(self.chance() * ((others + 1) * others))
        first, second = drawn // others, drawn % others
        a, b = fit[first], fit[second + (second >= first)]
        if now - a.stamp > FADE_STEP or now - b.stamp > FADE_STEP:
            return a if a.cost(now) <= b.cost(now) else b
        return a if a.ewma * (a.in_flight + 1) <= b.ewma * (b.in_flight + 1) else b

    # For candidates.

    def look(self) -> None:
        """Something has changed: look at all of them before the next pick."""
        self._stale_at = self._plain_until = 0.0

    def changed(self, what: What, candidate: Candidate) -> None:
        """A candidate's breaker opened or closed."""
        self.look()
        if self._tell is not None:
            self._tell(what, candidate)

    def learned(self, rtt: float, now: float) -> None:
        """The first answer of one: as long as nothing is known of the others, they are like it."""
        if self._learned:
            return
        self._learned = True
        for candidate in self._candidates.values():
            if not candidate.known:
                candidate.assume(rtt, now)

    # Seldom.

    def _guard(self, accrual: FailureAccrual | None) -> None:
        """Give each candidate a breaker, or take it away."""
        for candidate in self._candidates.values():
            breaker = candidate.breaker
            if accrual is None:
                candidate.breaker = None
            elif breaker is None:
                candidate.breaker = Breaker(accrual)
            else:
                breaker.rules = accrual

    def _welcome(self, newcomers: list[Candidate], now: float) -> None:
        """Others are serving already: let these begin slowly, and expect of them what those do."""
        known = [c.ewma for c in self._eligible if c.known]
        for candidate in newcomers:
            candidate.warms_since = now
            if known and not candidate.known:
                candidate.assume(sum(known) / len(known), now)

    def _sort(self, now: float) -> None:
        """Work out who is fit to be asked, and until when that holds."""
        self._due = []
        pool = self._eligible
        again = min((self._examine(c, now) for c in pool), default=NEVER)
        if self._spare and not any(c.available for c in pool):
            again = min(again, *(self._examine(c, now) for c in self._spare))
            pool = [*pool, *self._spare]
        reachable = [c for c in pool if c.rests_until <= now]
        fit = [c for c in reachable if c.available]
        panics = not fit or len(fit) < PANIC_SHARE * len(reachable)
        self._fit = (reachable or pool) if panics else fit
        self._others = len(self._fit) - 1
        self._weigh(now)
        self._stale_at = again
        plain = not (panics or self._sums or self._due)
        self._plain_until = again if plain else 0.0

    def _examine(self, candidate: Candidate, now: float) -> float:
        """Note whether it is available; returns when to look again."""
        breaker = candidate.breaker
        broken = breaker is not None and breaker.state is not State.CLOSED
        candidate.available = candidate.rests_until <= now and not broken
        again = candidate.rests_until if candidate.rests_until > now else NEVER
        if breaker is not None and broken and again is NEVER:
            if breaker.until <= now:
                self._due.append(candidate)
            else:
                again = breaker.until
        if candidate.warms_since != NEVER:
            if now - candidate.warms_since >= WARM_UP:
                candidate.warms_since = NEVER
            else:
                again = min(again, now + _WARM_STEP)
        return again

    def _weigh(self, now: float) -> None:
        """Work out the shares of those that are fit."""
        weights = [c.endpoint.weight * _warmth(c, now) for c in self._fit]
        if not weights or min(weights) == max(weights):
            self._sums = []
            for candidate in self._fit:
                candidate.share = 1.0
            return
        mean = sum(weights) / len(weights)
        for candidate, weight in zip(self._fit, weights, strict=True):
            candidate.share = weight / mean
        self._sums = list(accumulate(c.share for c in self._fit))

    def _pick_with_care(self, now: float, avoid: Candidate | None) -> Candidate | None:
        if now >= self._stale_at:
            self._sort(now)
        if avoid is not None:
            return self._pick_another(now, avoid)
        if self._due:
            candidate = self._due.pop()
            candidate.probe(now)
            return candidate
        fit = self._fit
        if len(fit) < 2:
            return fit[0] if fit else None
        return self._better(self._draw(fit), self._draw(fit), now)

    def _pick_another(self, now: float, avoid: Candidate) -> Candidate | None:
        """Nothing can be learned here from one that is not well, not even in a panic."""
        fit = [c for c in self._fit if c.available and c is not avoid]
        fit = fit or [c for c in self._fit if c is not avoid] or list(self._fit)
        if not fit:
            return None
        first = fit[int(self.chance() * len(fit))]
        return self._better(first, fit[int(self.chance() * len(fit))], now)

    def _draw(self, fit: Sequence[Candidate]) -> Candidate:
        """One at random, as often as its share says.

        It may be drawn twice: without that, the lightest of a few would be asked too often, or never.
        """
        if self._sums:
            return fit[bisect_right(self._sums, self.chance() * self._sums[-1])]
        return fit[int(self.chance() * len(fit))]

    def _better(self, a: Candidate, b: Candidate, now: float) -> Candidate:
        if a.available is not b.available:
            return a if a.available else b
        return b if b.cost(now) < CLEARLY * a.cost(now) else a


def _warmth(candidate: Candidate, now: float) -> float:
    """The part of its weight that an endpoint has now: from COLD to 1."""
    if candidate.warms_since == NEVER:
        return 1.0
    return min(1.0, COLD + (1 - COLD) * (now - candidate.warms_since) / WARM_UP)


def _place(endpoint: Endpoint, port: int) -> Hashable:
    """What makes connections to an endpoint stand for each other, and who it is."""
    return endpoint.address, port, endpoint.identity, endpoint.proxy_port, endpoint.uid
