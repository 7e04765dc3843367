"""The law of a track: never falling, exact where remembered, evenly spread between, and small."""

from hypothesis import given
from hypothesis import strategies as st

from services.telemetry.counts import ZERO, Counts
from services.telemetry.track import HORIZON, Track


def test_between_two_points_counting_is_taken_as_even() -> None:
    track = Track(0.0, 10.0, Counts(100), witnessed=True)
    track.record(20.0, Counts(300))

    assert [track.at(when).requests for when in (-1.0, 0.0, 5.0, 10.0, 15.0, 20.0, 99.0)] == [
        *(0, 0, 50, 100, 200, 300, 300)
    ]
    assert track.grown(15.0) == Counts(100)


def test_what_was_there_before_belongs_only_to_windows_that_reach_back_to_its_beginning() -> None:
    track = Track(100.0, 500.0, Counts(40), witnessed=False)
    track.record(510.0, Counts(50))

    assert track.grown(100.0) == Counts(50)
    assert track.grown(101.0) == Counts(10)
    assert track.grown(505.0) == Counts(5)


def test_a_quiet_time_is_not_filled_with_what_came_after() -> None:
    track = Track(0.0, 10.0, Counts(100), witnessed=True)
    for at in range(20, 1000, 10):
        track.record(float(at), Counts(100))
    track.record(1000.0, Counts(110))

    assert track.grown(500.0) == track.grown(990.0) == Counts(10)
    assert len(track) == 4


@given(
    st.lists(st.tuples(st.floats(0.1, 120.0), st.integers(0, 50)), min_size=1, max_size=300),
    st.lists(st.floats(-100.0, 20_000.0), min_size=2, max_size=10),
    st.booleans(),
)
def test_a_longer_window_never_holds_less(
    steps: list[tuple[float, int]], moments: list[float], witnessed: bool
) -> None:
    now, requests = 1.0, 5
    track = Track(0.0, now, Counts(requests), witnessed=witnessed)
    for seconds, grown in steps:
        now, requests = now + seconds, requests + grown
        track.record(now, Counts(requests))

    grown_since = [track.grown(when).requests for when in sorted(moments)]
    assert grown_since == sorted(grown_since, reverse=True)
    assert track.latest == Counts(requests)
    assert all(0 <= grown <= requests for grown in grown_since)


def test_an_hour_of_reports_every_second_is_remembered_in_a_hundred_points() -> None:
    track = Track(0.0, 0.0, ZERO, witnessed=True)
    most = 0
    for at in range(1, 3 * int(HORIZON)):
        track.record(float(at), Counts(at * 10, latency=(at * 10,)))
        most = max(most, len(track))

    assert most <= 120
    now = 3 * HORIZON - 1
    for window in (10.0, 60.0, 600.0, HORIZON):
        assert track.grown(now - window).requests == window * 10


def test_thinning_keeps_a_burst_where_it_was_to_an_eighth_of_its_age() -> None:
    track = Track(0.0, 0.0, ZERO, witnessed=True)
    requests = 0
    for at in range(1, int(HORIZON)):
        requests += 1 if at != 1800 else 100_000
        track.record(float(at), Counts(requests))
    now = HORIZON - 1

    age = now - 1800
    assert track.grown(now - age * 0.8).requests < 2_000
    assert track.grown(now - age * 1.2).requests > 100_000
