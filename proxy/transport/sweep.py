"""Deadlines for many connections at the price of one timer.

A timer for each request would cost more than the request. Each connection says by when something must
have happened; once a second all of them are looked at. Deadlines are therefore kept to the second.
"""

import asyncio
import math
from typing import Protocol as Shape

import anyio

NEVER = math.inf
PERIOD = 1.0


class Timed(Shape):
    """Something with a deadline."""

    deadline: float
    """Loop time in seconds; NEVER if there is nothing to wait for."""

    def expired(self) -> None:
        """The deadline has passed. Called again at the next look if it is not moved."""
        ...


class Sweep:
    """Looks at the deadlines of all that were added, once a second."""

    def __init__(self) -> None:
        self._timed: set[Timed] = set()
        self.period = PERIOD
        """Seconds between two looks."""

    def __len__(self) -> int:
        return len(self._timed)

    def add(self, timed: Timed) -> None:
        """Look at this one from now on."""
        self._timed.add(timed)

    def discard(self, timed: Timed) -> None:
        """Look at it no more."""
        self._timed.discard(timed)

    def look(self, now: float) -> None:
        """Tell those whose deadline has passed."""
        for timed in [timed for timed in self._timed if timed.deadline <= now]:
            if timed in self._timed:  # one may have taken another along
                timed.expired()

    async def run(self) -> None:
        """Look once in every period, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await anyio.sleep(self.period)
            self.look(loop.time())
