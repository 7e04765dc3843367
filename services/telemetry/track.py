"""One series through time: its running total at moments of the last hour, finer for the recent past.

Law: `at` never falls as time goes on; at the moment of a remembered point it is exact; between two
points what was counted is taken as evenly spread.
"""

from bisect import bisect_right

import msgspec

from services.telemetry.counts import ZERO, Counts

HORIZON = 3600.0
"""Seconds that the longest window reaches back."""
FINENESS = 8
"""Of the points at age `a`, those that leave no gap wider than `a / FINENESS` may be forgotten."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Counts).decode


class Track:
    """The running total of one series, remembered in a few dozen packed points at most.

    `since` is when its counting began. If it was `witnessed`, all of the first total lies between then
    and its receipt. If not, nobody knows when in that time it was counted: it belongs to windows that
    reach back to `since`, and to no shorter one.
    """

    __slots__ = ("_points", "_spare", "_times", "seen", "since")

    def __init__(self, since: float, at: float, total: Counts, *, witnessed: bool) -> None:
        self.since = min(since, at)
        self.seen = at
        self._times = [at]
        self._points = [_encode(total)]
        self._spare = 16
        if witnessed and total != ZERO:
            self._times.insert(0, self.since)
            self._points.insert(0, _encode(ZERO))

    def __repr__(self) -> str:
        return f"<Track points={len(self._times)} seen={self.seen:.0f}>"

    def __len__(self) -> int:
        return len(self._times)

    @property
    def latest(self) -> Counts:
        """The total when it was last heard of."""
        return _decode(self._points[-1])

    def record(self, at: float, total: Counts) -> None:
        """Remember the total received at `at`, which is not before any earlier one."""
        point = _encode(total)
        if point != self._points[-1]:
            if self.seen > self._times[-1]:
                self._append(self.seen, self._points[-1])
            self._append(at, point)
            if len(self._times) > self._spare:
                self._thin(at)
        self.seen = at

    def at(self, when: float) -> Counts:
        """The total at a moment, as the law above says; before `since` it is zero."""
        after = bisect_right(self._times, when)
        if after == 0:
            return ZERO if when <= self.since else _decode(self._points[0])
        before = _decode(self._points[after - 1])
        if after == len(self._times) or self._points[after] == self._points[after - 1]:
            return before
        begin, end = self._times[after - 1], self._times[after]
        grown = _decode(self._points[after]) - before
        return before + grown.part((when - begin) / (end - begin))

    def grown(self, since: float) -> Counts:
        """What was counted after a moment."""
        if since >= self._times[-1]:
            return ZERO
        return self.latest - self.at(since)

    def _append(self, at: float, point: bytes) -> None:
        self._times.append(at)
        self._points.append(point)

    def _thin(self, now: float) -> None:
        """Forget what lies beyond the horizon, and points that an older age no longer needs."""
        first = max(0, bisect_right(self._times, now - HORIZON) - 1)
        times, points = self._times[first : first + 1], self._points[first : first + 1]
        for i in range(first + 1, len(self._times)):
            later = self._times[i + 1] if i + 1 < len(self._times) else now
            if i + 1 == len(self._times) or (later - times[-1]) * FINENESS > now - later:
                times.append(self._times[i])
                points.append(self._points[i])
        self._times, self._points = times, points
        self._spare = len(times) + 16
