"""Deadlines for single requests, kept to a twentieth of a second at the price of one timer for all.

Those that fall into the same twentieth are kept together, so that adding and taking back is a matter of
two dictionaries. The loop is woken for twentieths that hold something, and while there is none not at all.
"""

import asyncio
import functools
import heapq
from collections.abc import Callable

from proxy.refusals import TooSlow
from proxy.session.exchange import Exchange

TICK = 0.05
_SLACK = 0.001
"""The loop's clock has steps of a millisecond, and may call as much too early."""
HORIZON = 60.0
"""Seconds ahead for which there are places; what is later is looked at again then."""


class Deadline:
    """Something that is to happen at `at` (loop time in seconds), unless it is taken back."""

    __slots__ = ("at", "call", "place")

    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at = at
        self.call: Callable[[], None] | None = call
        self.place = 0

    def __repr__(self) -> str:
        return f"<Deadline {self.at:.2f}{'' if self.call else ' over'}>"


class Deadlines:
    """The deadlines of many requests."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._places: dict[int, dict[Deadline, None]] = {}
        self._order: list[int] = []
        """A heap of the places."""
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return sum(map(len, self._places.values()))

    def add(self, at: float, call: Callable[[], None]) -> Deadline:
        """Call at `at` or up to TICK later (loop time in seconds)."""
        deadline = Deadline(at, call)
        self._put(deadline, self._loop.time())
        return deadline

    def discard(self, deadline: Deadline) -> None:
        """Do not call, if that has not happened yet."""
        deadline.call = None
        place = self._places.get(deadline.place)
        if place is not None:
            place.pop(deadline, None)

    def _put(self, deadline: Deadline, now: float) -> None:
        number = int(min(max(deadline.at, now), now + HORIZON) / TICK) + 1
        deadline.place = number
        place = self._places.get(number)
        if place is not None:
            place[deadline] = None
            return
        self._places[number] = {deadline: None}
        heapq.heappush(self._order, number)
        if self._order[0] == number:
            self._wake_at(number)

    def _wake_at(self, number: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(number * TICK, self._look)

    def _look(self) -> None:
        """Call those whose time has come."""
        self._timer = None
        now = self._loop.time()
        due: list[Deadline] = []
        while self._order and self._order[0] * TICK <= now + _SLACK:
            due += self._places.pop(heapq.heappop(self._order))
        # Nothing is in the heap but what is still in its place: calls may add, and take back.
        for deadline in due:
            call = deadline.call
            if call is None:
                continue
            if deadline.at > now:
                self._put(deadline, now)
            else:
                deadline.call = None
                call()
        while self._order and not self._places[self._order[0]]:
            del self._places[heapq.heappop(self._order)]
        if self._order and self._timer is None:
            self._wake_at(self._order[0])


def limit(deadlines: Deadlines, exchange: Exchange, seconds: float) -> Deadline:
    """Give the exchange `seconds` from its start; the deadline is to be discarded when it ends."""
    return deadlines.add(exchange.started_at + seconds, functools.partial(expire, exchange))


def expire(exchange: Exchange) -> None:
    """The time of an exchange is over: tell its client, and let its endpoint off."""
    client = exchange.client
    exchange.refuse(TooSlow("its deadline has passed"))
    if client is not None:
        exchange.client = None
        client.cancel()
