"""Time and chance, injected, so that whatever depends on them can be tested."""

import random
import time
from typing import Protocol


class Clock(Protocol):
    """Where time and chance come from."""

    def now(self) -> float:
        """Wall-clock time in seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def random(self) -> float:
        """A number in [0, 1)."""
        ...


class SystemClock:
    """The machine's clock and random numbers."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
    random = staticmethod(random.random)


class ManualClock:
    """A clock that moves when told to and whose chance is a given sequence, for tests."""

    def __init__(self, now: float = 1_700_000_000.0, chances: tuple[float, ...] = (0.5,)) -> None:
        self._now = now
        self._monotonic = 0.0
        self._chances = chances
        self._drawn = 0

    def now(self) -> float:
        """The wall-clock time that it was set or advanced to."""
        return self._now

    def monotonic(self) -> float:
        """Seconds advanced since the beginning."""
        return self._monotonic

    def random(self) -> float:
        """The next of the given chances, round and round."""
        chance = self._chances[self._drawn % len(self._chances)]
        self._drawn += 1
        return chance

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self._now += seconds
        self._monotonic += seconds
