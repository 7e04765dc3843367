"""Waits double, are shortened by chance, and never pass the most."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.backoff import Backoff
from common.clock import ManualClock

chances = st.floats(0, 1, exclude_max=True)


def test_waits_double_up_to_the_most_and_begin_anew_after_a_success() -> None:
    backoff = Backoff(ManualClock(chances=(0.0,)), first=1, most=5)

    assert [backoff.next() for _ in range(5)] == [1, 2, 4, 5, 5]
    backoff.reset()
    assert backoff.next() == 1


@given(st.lists(chances, min_size=1, max_size=5), st.floats(0, 1))
def test_chance_only_ever_shortens_a_wait_and_by_no_more_than_told(
    drawn: list[float], jitter: float
) -> None:
    shortened = Backoff(ManualClock(chances=tuple(drawn)), first=1, most=5, jitter=jitter)
    full = Backoff(ManualClock(chances=(0.0,)), first=1, most=5)
    for _ in range(8):
        wait, most = shortened.next(), full.next()

        assert most * (1 - jitter) <= wait <= most


def test_the_middle_of_chance_is_the_middle_of_the_range() -> None:
    assert Backoff(ManualClock(chances=(0.5,)), first=4, jitter=0.5).next() == pytest.approx(3)
