"""One proxy's account: what grew since its last report, across restarts and whatever the order of arrival.

A proxy reports counters since it `started`, one process (a run) after another. The account turns them
into one running total per series, which never falls:

- A report adds what its counters have grown by since the last one of the same run.
- A report that is late or repeated (its time is not after the last one's) and that is ahead of what is
  known in no series, or behind in one, is left aside; else it was the proxy's clock that stepped back.
- A series whose counters fell, or that a report left out, began anew from zero: proxies forget series that
  have been idle for long.
- A run that began while the ledger listened counts from zero; the first run of a proxy that was there
  before is counted as Track says; of any other run from before only the growth counts.
"""

from collections.abc import Callable
from typing import Literal

import msgspec

from common.contract.telemetry import Direction, Peer, Report, Series
from services.telemetry.counts import ZERO, Counts, read
from services.telemetry.track import HORIZON, Track

SERIES = 4_096
"""Series of one proxy at most; further ones are refused."""
RUNS = 4
"""Processes of one proxy remembered at most: reports of older ones come too late."""
SILENCE = 30.0
"""Seconds without a report after which a proxy counts as gone, or three of its intervals if longer."""
NAMES = 1_024
"""Characters in all names of a series at most."""

Outcome = Literal["applied", "late"]


class Key(msgspec.Struct, frozen=True):
    """What makes a series itself."""

    direction: Direction
    peer: Peer
    protocol: str
    no_tls_reason: str


Growth = Callable[["Account", Key, Series | None, Series], None]
"""Told of every series that grew: as it was (None: from zero) and as it is."""


class Run:
    """One process of a proxy: its counters as last reported."""

    __slots__ = ("final", "last", "open", "time")

    def __init__(self) -> None:
        self.time = float("-inf")
        self.final = False
        self.last: dict[Key, tuple[Series, Counts]] = {}
        self.open: dict[Key, int] = {}


class Account:
    """All that is known of one proxy. `namespace` and `workload` name it; owner and identity are its word."""

    def __init__(self, namespace: str, workload: str, at: float) -> None:
        self.namespace = namespace
        self.workload = workload
        self.owner = ""
        self.identity = ""
        self.first = self.since = self.heard = at
        self.refused = 0
        """Series left out because they are absurd, doubled or beyond the limit."""
        self.limit = SERIES
        """How many series there is room for now."""
        self.tracks: dict[Key, Track] = {}
        self._interval = 0.0
        self._runs: dict[float, Run] = {}
        self._oldest = float("-inf")
        self._current: Run | None = None
        self._swept = at

    def __repr__(self) -> str:
        return f"<Account {self.namespace}/{self.workload} series={len(self.tracks)}>"

    @property
    def name(self) -> str:
        """The owner's name, or the workload's own where nothing owns it."""
        return self.owner or self.workload

    @property
    def gone(self) -> bool:
        """Whether the proxy's newest process has said goodbye."""
        return self._current is not None and self._current.final

    def live(self, now: float) -> bool:
        """Whether the proxy has not said goodbye and was heard of as lately as its habit is."""
        return not self.gone and now - self.heard <= max(SILENCE, 3 * self._interval)

    def open(self, now: float) -> dict[Key, int]:
        """Open connections by series, as far as they can be believed."""
        return self._current.open if self._current and self.live(now) else {}

    def span(self, window_start: float) -> tuple[float, float]:
        """Which stretch of a window the account speaks of."""
        start = self.since if window_start <= self.since else max(window_start, self.first)
        return min(start, self.heard), self.heard

    def apply(self, report: Report, at: float, listening_since: float, growth: Growth) -> Outcome:
        """Take in a report received at `at`, which is not before any earlier receipt."""
        run = self._runs.get(report.started)
        if run is not None:
            if report.time <= run.time and not _ahead(run, report):
                return "late"
            self._sweep(at)
            self._take(run, report, at, growth, since=self.heard, witnessed=True)
        else:
            if report.started <= self._oldest:
                return "late"
            born = at - max(0.0, report.time - report.started)
            witnessed = born >= listening_since
            known = bool(self._runs)
            if not known:
                self.since = born
                self.first = born if witnessed else at
            run = self._begin(report.started)
            counted = witnessed or not known
            self._take(run, report, at, growth, since=born, witnessed=witnessed, counted=counted)
        self._note(run, report, at)
        return "applied"

    def _begin(self, started: float) -> Run:
        run = self._runs[started] = Run()
        if len(self._runs) > RUNS:
            self._oldest = min(self._runs)
            del self._runs[self._oldest]
        return run

    def _take(
        self,
        run: Run,
        report: Report,
        at: float,
        growth: Growth,
        *,
        since: float,
        witnessed: bool,
        counted: bool = True,
    ) -> None:
        if report.started == max(self._runs):
            self._current = run
            self.owner, self.identity = report.owner, report.identity
        known, run.last, run.open = run.last, {}, {}
        for series in report.series:
            key, counts = _key(series), read(series)
            if counts is None or key in run.last or not self._has_room(key):
                self.refused += 1
                continue
            run.last[key] = (series, counts)
            if series.open_connections:
                run.open[key] = series.open_connections
            before = known.get(key)
            if before is not None and not counts.covers(before[1]):
                before = None
            if counted:
                self._grow(key, counts - before[1] if before else counts, at, since, witnessed)
                if before is None or before[0] != series:
                    growth(self, key, before[0] if before else None, series)

    def _has_room(self, key: Key) -> bool:
        return key in self.tracks or (len(self.tracks) < self.limit and _length(key) <= NAMES)

    def _grow(self, key: Key, grown: Counts, at: float, since: float, witnessed: bool) -> None:
        track = self.tracks.get(key)
        if track is None:
            self.tracks[key] = Track(since, at, grown, witnessed=witnessed)
            return
        # Had it counted before the last report, that one would have told.
        track.seen = max(track.seen, since)
        sum_ = track.latest + grown
        if sum_.absurd:
            self.tracks[key] = Track(at, at, ZERO, witnessed=True)
        else:
            track.record(at, sum_)

    def _note(self, run: Run, report: Report, at: float) -> None:
        if at > self.heard:
            self._interval = at - self.heard
        self.heard = at
        run.time = report.time
        run.final = run.final or report.final

    def _sweep(self, at: float) -> None:
        """Forget series that no report has named for an hour; sooner if there are too many."""
        full = len(self.tracks) >= self.limit
        if at < self._swept + 60.0 and not full:
            return
        self._swept = at
        oldest = self.heard if full else at - HORIZON
        for key in [key for key, track in self.tracks.items() if track.seen < oldest]:
            del self.tracks[key]


def _key(series: Series) -> Key:
    return Key(series.direction, series.peer, series.protocol, series.no_tls_reason)


def _length(key: Key) -> int:
    peer = key.peer
    names = (peer.service, peer.workload, peer.namespace, peer.owner, peer.identity, peer.address)
    return sum(map(len, names)) + len(key.no_tls_reason)


def _ahead(run: Run, report: Report) -> bool:
    """Whether a known series is ahead of what is known of it, and none behind."""
    ahead = False
    for series in report.series:
        counts, known = read(series), run.last.get(_key(series))
        if counts is None or known is None:
            continue
        if not counts.covers(known[1]):
            return False
        ahead = ahead or counts != known[1]
    return ahead
