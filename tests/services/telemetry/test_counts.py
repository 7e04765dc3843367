"""The law of counts: sums in any order, parts that stay in proportion, quantiles within buckets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.contract.telemetry import BUCKETS_MS
from services.telemetry.counts import LIMIT, ZERO, Counts, figures, quantile, read, total
from tests.support.reports import series

numbers = st.integers(0, 10**9)
histograms = st.lists(st.integers(0, 1000), max_size=len(BUCKETS_MS) + 1).map(tuple)


@st.composite
def many_counts(draw: st.DrawFn) -> Counts:
    """Counts as they are read from a report."""
    requests = draw(numbers)
    reported = series(
        requests,
        failures=draw(st.integers(0, requests)),
        latency=draw(histograms),
        bytes_read=draw(numbers),
        bytes_written=draw(numbers),
    )
    counts = read(reported)
    assert counts is not None
    return counts


@given(many_counts(), many_counts(), many_counts())
def test_a_sum_is_the_same_in_any_order(a: Counts, b: Counts, c: Counts) -> None:
    assert (a + b) + c == a + (b + c) == total([c, b, a])
    assert a + ZERO == a


@given(many_counts(), many_counts())
def test_what_was_added_can_be_taken_away(a: Counts, b: Counts) -> None:
    assert (a + b) - b == a
    assert (a + b).covers(a)


@given(many_counts(), st.floats(0, 1))
def test_a_part_and_what_it_leaves_keep_failures_within_requests(a: Counts, share: float) -> None:
    part = a.part(share)

    assert a.covers(part)
    assert part.failures <= part.requests
    assert (a - part).failures <= (a - part).requests


@given(histograms, st.floats(0, 1), st.floats(0, 1))
def test_a_greater_quantile_is_never_a_smaller_latency(
    latency: tuple[int, ...], p: float, q: float
) -> None:
    low, high = quantile(latency, min(p, q)), quantile(latency, max(p, q))

    if low is None or high is None:
        assert not any(latency)
    else:
        assert low <= high


@pytest.mark.parametrize(
    ("latency", "q", "expected"),
    [
        pytest.param((), 0.5, None, id="no requests"),
        pytest.param((0, 0, 0), 0.5, None, id="empty buckets"),
        pytest.param((10,), 0.5, 0.5, id="half of the first bucket, which begins at 0"),
        pytest.param((0, 10), 0.5, 1.5, id="half way from 1 to 2"),
        pytest.param((5, 5), 0.5, 1.0, id="on a bound"),
        pytest.param((50, 0, 0, 0, 0, 50), 0.95, 9.5, id="empty buckets between"),
        pytest.param((99, *[0] * 24, 1), 1.0, 50_000.0, id="beyond all bounds"),
        pytest.param((0, 4), 0.0, 1.0, id="the least"),
    ],
)
def test_quantiles_are_read_between_the_bounds_of_a_bucket(
    latency: tuple[int, ...], q: float, expected: float | None
) -> None:
    assert quantile(latency, q) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        {"requests": -1},
        {"requests": LIMIT + 1},
        {"latency": (1,) * (len(BUCKETS_MS) + 2)},
        {"latency": (1, -1)},
        {"latency_sum_ms": -0.5},
        {"bytes_read": -1},
        {"open_connections": -1},
        {"statuses": {"200": -4}},
        {"errors": {"no-endpoints": LIMIT + 1}},
    ],
)
def test_what_cannot_have_been_counted_is_not_read(wrong: dict[str, object]) -> None:
    assert read(series(**wrong)) is None  # type: ignore[arg-type]


def test_figures_of_nothing_claim_nothing() -> None:
    told = figures(ZERO, 10.0)

    assert (told.requests, told.success_rate, told.rps, told.p50_ms) == (0, None, 0.0, None)


def test_figures_are_taken_over_the_seconds_they_stand_for() -> None:
    told = figures(Counts(200, 5, 1_000, 2_000, (200,)), 20.0, open_connections=3)

    assert (told.rps, told.success_rate, told.tcp_connections) == (10.0, 0.975, 3)
    assert (told.p50_ms, told.p99_ms) == (0.5, 0.99)


def test_more_failures_than_requests_are_no_negative_success() -> None:
    assert figures(Counts(2, 5), 1.0).success_rate == 0.0
