"""Bytes that wait in streams of HTTP/2 for a window or a socket: counted, and bounded.

A connection may have as much waiting as is left for all others. One alone gets half of the limit, and
however many greedy ones there are, a newcomer finds room: with n of them, one part in n + 1. Those that wait
for the socket alone may have the rest as well, as long as nobody else needs it: they are read from.

Where there is no room, those make it that hold much and of whom nothing was taken for longest: a peer
that reads goes on, however many beside it do not.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import ClassVar
from typing import Protocol as Shape

TOTAL_LIMIT = 64 * 1024 * 1024
"""Bytes that wait on all connections."""


class Waiter(Shape):
    """A stream, as far as something waits in it."""

    pending: bytearray | None
    window: int
    """What its peer lets it send."""

    def shed(self) -> None:
        """Nobody has taken anything for so long that others need the room: end, and take out what waits."""
        ...


class Backlog:
    """What waits on one connection. `Backlog.total` is what waits on all of them: a gauge."""

    __slots__ = ("_waiters", "size")

    total: ClassVar[int] = 0
    _turn: ClassVar[int] = 0

    def __init__(self) -> None:
        self.size = 0
        self._waiters: OrderedDict[Waiter, int] = OrderedDict()
        """With the turn in which something of it was taken last, longest ago first."""

    def __repr__(self) -> str:
        return f"<Backlog {self.size} of {Backlog.total}>"

    def add(self, waiter: Waiter, size: int) -> bool:
        """Count `size` bytes more, at others' cost if need be; false if there is no room for them even so."""
        while self.size + size > TOTAL_LIMIT - Backlog.total - size:
            stalled = self._stalled(waiter) or self._stalled_elsewhere()
            if stalled is None:
                return False
            if stalled.window > 0 and Backlog.total + size <= TOTAL_LIMIT:
                # All of them wait for the socket, and their sources for them: nobody is to blame.
                break
            stalled.shed()
        if waiter not in self._waiters:
            self._moved(waiter)
            _all[self] = None
        self.size += size
        Backlog.total += size
        return True

    def take(self, waiter: Waiter, size: int) -> None:
        """So much went out, and more waits."""
        self.size -= size
        Backlog.total -= size
        self._moved(waiter)

    def remove(self, waiter: Waiter, size: int) -> None:
        """The last of it went out, or is not wanted any more."""
        self.size -= size
        Backlog.total -= size
        if self._waiters.pop(waiter, None) is not None and not self._waiters:
            del _all[self]

    def _moved(self, waiter: Waiter) -> None:
        Backlog._turn += 1
        self._waiters[waiter] = Backlog._turn
        self._waiters.move_to_end(waiter)

    def _stalled(self, besides: Waiter | None = None) -> Waiter | None:
        """Of those that hold half of their share or more, the one that has waited longest.

        One whose window is open waits for the socket only, and is none as long as there is another.
        """
        share = self.size / (2 * len(self._waiters) or 1)
        found = None
        for waiter in self._waiters:
            if waiter is not besides and len(waiter.pending or b"") >= share:
                if waiter.window <= 0:
                    return waiter
                found = found or waiter
        return found

    def _stalled_elsewhere(self) -> Waiter | None:
        """The same on other connections, for one that holds no more than twice its own share."""
        share = Backlog.total / (2 * len(_all) or 1)
        if self.size > 4 * share:
            return None
        found = min(self._others(share), default=None, key=lambda pair: pair[0])
        return found[1] if found else None

    def _others(self, share: float) -> Iterator[tuple[int, Waiter]]:
        for backlog in _all:
            if backlog is not self and backlog.size >= share:
                waiter = backlog._stalled()
                if waiter is not None:
                    yield backlog._waiters[waiter], waiter


_all: dict[Backlog, None] = {}
"""Those in which something waits."""
