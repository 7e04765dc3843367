"""Flood control: a share for each, and a bound on all."""

from common.clock import ManualClock
from services.identity.flood import Flood


def test_each_gets_a_burst_and_then_a_rate() -> None:
    clock = ManualClock()
    flood = Flood(clock, burst=3, per_second=0.5)

    assert [flood.allows("web") for _ in range(5)] == [True, True, True, False, False]
    assert flood.allows("books")
    clock.advance(2)
    assert [flood.allows("web") for _ in range(2)] == [True, False]
    clock.advance(3600)
    assert [flood.allows("web") for _ in range(4)] == [True, True, True, False]


def test_whoever_was_seen_last_is_remembered() -> None:
    flood = Flood(ManualClock(), burst=1, per_second=0.001, most=2)

    assert flood.allows("one")
    assert flood.allows("two")
    assert not flood.allows("one")
    assert flood.allows("three")
    assert not flood.allows("one")
    assert flood.allows("two")
