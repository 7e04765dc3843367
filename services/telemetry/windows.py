"""What grew in a stretch of time, by source and target, and the sums that answers are made of.

A window reaches from `at - seconds` to `at`. Of each proxy it holds what the proxy counted from the
window's start to its last report; so a rate is taken over the part of the window of which the summed
proxies have spoken, and is right from the first seconds of a mesh to a proxy's last.
"""

from collections.abc import Iterator

import msgspec

from common.contract.telemetry import Figures
from services.telemetry.account import Account, Key
from services.telemetry.counts import ZERO, Counts, figures
from services.telemetry.ledger import Ledger


class Window(msgspec.Struct, frozen=True):
    """A stretch of time that ends at `at`, in seconds."""

    at: float
    seconds: float

    @property
    def start(self) -> float:
        """When it begins."""
        return self.at - self.seconds


class Movement(msgspec.Struct, frozen=True):
    """What one series of one proxy did in a window."""

    account: Account
    key: Key
    counts: Counts
    open: int

    @property
    def any(self) -> bool:
        """Whether anything moved or is open."""
        return bool(self.open) or self.counts != ZERO


class Sum:
    """The sum of movements, and of which part of the window their proxies have spoken."""

    def __init__(self) -> None:
        self.counts = ZERO
        self.open = 0
        self._start = float("inf")
        self._end = float("-inf")

    def add(self, movement: Movement) -> None:
        """Add a movement of a proxy already heard."""
        self.counts += movement.counts
        self.open += movement.open

    def hear(self, account: Account, window: Window) -> None:
        """Widen the time spoken of by an account's share of the window."""
        start, end = account.span(window.start)
        self._start, self._end = min(self._start, start), max(self._end, end)

    def figures(self) -> Figures:
        """The golden metrics of the sum."""
        return figures(self.counts, self._end - self._start, self.open)


def reporting(ledger: Ledger, window: Window) -> Iterator[Account]:
    """The proxies that were heard of within the window."""
    return (account for account in ledger if account.heard >= window.start)


def movements(account: Account, window: Window) -> Iterator[Movement]:
    """What each of a proxy's series did in the window."""
    gauges = account.open(window.at)
    for key, track in account.tracks.items():
        yield Movement(account, key, track.grown(window.start), gauges.get(key, 0))
