"""Nobody gets more than a share: a token bucket each, and a bound on how many are remembered."""

from collections import OrderedDict
from collections.abc import Hashable

from common.clock import Clock


class Flood:
    """Lets each key through `burst` times at once, and `per_second` times a second in the long run.

    Of those seen least recently all but `most` are forgotten: they begin afresh, which is the price of
    a bound, and needs `most` other keys within the time in which a bucket fills.
    """

    def __init__(self, clock: Clock, burst: int, per_second: float, most: int = 10_000) -> None:
        self._clock = clock
        self._burst = burst
        self._per_second = per_second
        self._most = most
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def allows(self, key: Hashable) -> bool:
        """Take one from the share of `key`; False if nothing is left of it now."""
        now = self._clock.monotonic()
        level, seen = self._buckets.pop(key, (float(self._burst), now))
        level = min(self._burst, level + (now - seen) * self._per_second)
        allowed = level >= 1
        self._buckets[key] = (level - 1 if allowed else level, now)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return allowed
