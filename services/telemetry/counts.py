"""The numbers of a series and what may be done with them: add, subtract, share out, read quantiles.

Law: `+` is associative and commutative with ZERO as its neutral element, and `(a + b) - b == a`.
Counts that say the same are equal: a histogram carries no empty buckets at its end.
"""

from collections.abc import Iterable, Sequence
from itertools import zip_longest

import msgspec

from common.contract.telemetry import BUCKETS_MS, Figures, Series

LIMIT = 2**53
"""A counter beyond this is a mistake, not a measurement (and no longer an exact number in JSON)."""


class Counts(msgspec.Struct, frozen=True, array_like=True):
    """What a series counted, all of it cumulative."""

    requests: int = 0
    failures: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    latency: tuple[int, ...] = ()
    """Counts by bucket of BUCKETS_MS plus one; empty buckets at the end are left out."""

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.requests + other.requests,
            self.failures + other.failures,
            self.bytes_read + other.bytes_read,
            self.bytes_written + other.bytes_written,
            _trim([a + b for a, b in zip_longest(self.latency, other.latency, fillvalue=0)]),
        )

    def __sub__(self, other: "Counts") -> "Counts":
        return Counts(
            self.requests - other.requests,
            self.failures - other.failures,
            self.bytes_read - other.bytes_read,
            self.bytes_written - other.bytes_written,
            _trim([a - b for a, b in zip_longest(self.latency, other.latency, fillvalue=0)]),
        )

    def part(self, share: float) -> "Counts":
        """This `share` (0 to 1) of each number, rounded to the nearest.

        Law: a number that is not greater than another is not greater in any part of them either, nor
        in what the part leaves: failures stay within requests.
        """
        return Counts(
            _part(self.requests, share),
            _part(self.failures, share),
            _part(self.bytes_read, share),
            _part(self.bytes_written, share),
            _trim([_part(count, share) for count in self.latency]),
        )

    def covers(self, other: "Counts") -> bool:
        """Whether each number is at least as great as the other's."""
        return (
            self.requests >= other.requests
            and self.failures >= other.failures
            and self.bytes_read >= other.bytes_read
            and self.bytes_written >= other.bytes_written
            and len(self.latency) >= len(other.latency)
            and all(a >= b for a, b in zip(self.latency, other.latency, strict=False))
        )

    @property
    def absurd(self) -> bool:
        """Whether a number is beyond LIMIT."""
        plain = (self.requests, self.failures, self.bytes_read, self.bytes_written)
        return max((*plain, *self.latency)) > LIMIT


ZERO = Counts()


def read(series: Series) -> Counts | None:
    """The counts of a reported series; None if it cannot be: negative, absurd or with too many buckets."""
    counts = Counts(
        series.requests,
        series.failures,
        series.bytes_read,
        series.bytes_written,
        _trim(series.latency),
    )
    numbers = (*series.latency, *series.statuses.values(), *series.errors.values())
    plain = (series.requests, series.failures, series.bytes_read, series.bytes_written)
    if any(not 0 <= number <= LIMIT for number in (*numbers, *plain, series.open_connections)):
        return None
    if len(series.latency) > len(BUCKETS_MS) + 1 or not 0 <= series.latency_sum_ms <= LIMIT:
        return None
    return counts


def total(many: Iterable[Counts]) -> Counts:
    """The sum of all."""
    return sum(many, ZERO)


def quantile(latency: Sequence[int], q: float) -> float | None:
    """The latency in milliseconds below which a share `q` of the requests lies; None without requests.

    Within a bucket requests are taken as evenly spread (linear interpolation); the first bucket begins
    at 0, and what lies in the bucket without a bound is told as the greatest bound there is.
    """
    rank = q * sum(latency)
    below = 0
    for bucket, count in enumerate(latency):
        if count and below + count >= rank:
            if bucket >= len(BUCKETS_MS):
                return float(BUCKETS_MS[-1])
            lower = BUCKETS_MS[bucket - 1] if bucket else 0.0
            return lower + (BUCKETS_MS[bucket] - lower) * max(0.0, rank - below) / count
        below += count
    return None


def figures(counts: Counts, seconds: float, open_connections: int = 0) -> Figures:
    """The golden metrics of what was counted in `seconds`."""
    served = counts.requests - min(counts.failures, counts.requests)
    return Figures(
        requests=counts.requests,
        success_rate=served / counts.requests if counts.requests else None,
        rps=round(counts.requests / seconds, 3) if seconds > 0 else 0.0,
        p50_ms=_milliseconds(counts.latency, 0.50),
        p95_ms=_milliseconds(counts.latency, 0.95),
        p99_ms=_milliseconds(counts.latency, 0.99),
        tcp_connections=open_connections,
        bytes_read=counts.bytes_read,
        bytes_written=counts.bytes_written,
    )


def _milliseconds(latency: Sequence[int], q: float) -> float | None:
    value = quantile(latency, q)
    return None if value is None else round(value, 3)


def _trim(latency: Sequence[int]) -> tuple[int, ...]:
    end = len(latency)
    while end and not latency[end - 1]:
        end -= 1
    return tuple(latency[:end])


def _part(number: int, share: float) -> int:
    return min(number, int(number * share + 0.5))
