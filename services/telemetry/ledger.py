"""The accounts of all proxies, within bounds.

What grows without limit somewhere in the mesh does not grow here: proxies, series and points in time
are bounded, what has been idle longest makes room, and everything left out is counted.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterator

from common.contract.telemetry import Report, Series
from services.telemetry.account import SERIES, Account, Growth, Key
from services.telemetry.track import HORIZON

PROXIES = 10_000
TRACKS = 50_000
"""Series of all proxies together; each takes up to some 8 kB while it moves."""
IDLE = 120.0
"""A proxy not heard of for so many seconds may be forgotten where another needs its room."""


class Ledger:
    """What proxies reported, by proxy. Moments are seconds on the receiver's monotonic clock.

    `since` is when listening began: of what went before, only what reports tell is known.
    """

    def __init__(
        self,
        since: float,
        growth: Growth | None = None,
        *,
        proxies: int = PROXIES,
        tracks: int = TRACKS,
    ) -> None:
        self.since = since
        self.outcomes: Counter[str] = Counter()
        """Reports by what became of them: applied, late, refused (no room)."""
        self.forgotten = 0
        """Proxies forgotten before their hour, because others needed the room."""
        self._growth = growth or _ignore
        self._limits = (proxies, tracks)
        self._accounts: OrderedDict[tuple[str, str], Account] = OrderedDict()
        self._tracks = 0
        self._refused = 0

    def __repr__(self) -> str:
        return f"<Ledger proxies={len(self._accounts)} series={self._tracks}>"

    def __len__(self) -> int:
        return len(self._accounts)

    def __iter__(self) -> Iterator[Account]:
        """The accounts, those heard of longest ago first."""
        return iter(self._accounts.values())

    @property
    def tracks(self) -> int:
        """Series of all proxies together."""
        return self._tracks

    @property
    def refused(self) -> int:
        """Series left out of reports so far: absurd ones, doubled ones, or too many."""
        return self._refused

    def covered(self, window: float, at: float) -> float:
        """How much of a window that ends at `at` the ledger has listened for, in seconds."""
        return max(0.0, min(window, at - self.since))

    def apply(self, report: Report, at: float) -> str:
        """Take in a report received at `at`; says what became of it: applied, late or refused."""
        self._expire(at)
        key = (report.namespace, report.workload)
        account = self._accounts.get(key)
        if account is None:
            if not self._make_room(at):
                self.outcomes["refused"] += 1
                return "refused"
            account = self._accounts[key] = Account(*key, at)
        tracks, refused = len(account.tracks), account.refused
        account.limit = min(SERIES, tracks + max(0, self._limits[1] - self._tracks))
        outcome = account.apply(report, at, self.since, self._growth)
        self._tracks += len(account.tracks) - tracks
        self._refused += account.refused - refused
        if outcome == "applied":
            self._accounts.move_to_end(key)
        self.outcomes[outcome] += 1
        return outcome

    def _expire(self, at: float) -> None:
        while self._accounts and next(iter(self)).heard < at - HORIZON:
            self._forget_oldest()

    def _make_room(self, at: float) -> bool:
        proxies, tracks = self._limits
        while len(self._accounts) >= proxies or self._tracks >= tracks:
            oldest = next(iter(self))
            if not oldest.gone and at - oldest.heard < IDLE:
                return False
            self._forget_oldest()
            self.forgotten += 1
        return True

    def _forget_oldest(self) -> None:
        _, account = self._accounts.popitem(last=False)
        self._tracks -= len(account.tracks)


def _ignore(_account: Account, _key: Key, _before: Series | None, _after: Series) -> None:
    """Nobody wants to know."""
