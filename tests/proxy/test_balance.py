"""Power of two choices on a peak-sensitive moving average: its properties, with time and chance in hand."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.clock import ManualClock
from common.contract.discovery import Endpoint
from proxy.decide.balance import DECAY, DEFAULT_RTT, LONGEST_REST, Balancer, Candidate


class Draws:
    """A clock whose chance runs evenly through [0, 1): every pair comes up."""

    def __init__(self) -> None:
        self.time = ManualClock(chances=tuple((n * 0.6180339887498949) % 1.0 for n in range(1000)))
        self.now, self.monotonic = self.time.now, self.time.monotonic
        self.random, self.advance = self.time.random, self.time.advance


def endpoint(n: int, **changes: object) -> Endpoint:
    values = {"address": f"10.0.0.{n}", "ports": {}, "workload": f"w-{n}", "uid": f"u-{n}"}
    return Endpoint(**{**values, **changes})  # type: ignore[arg-type]


def balancer(*endpoints: Endpoint, clock: Draws | None = None) -> tuple[Balancer, Draws]:
    clock = clock or Draws()
    made = Balancer(clock)
    made.update([(one, 8000) for one in endpoints])
    return made, clock


def every(made: Balancer, times: int = 200) -> dict[str, Candidate]:
    """All candidates that are ever picked, by workload."""
    found = {}
    for _ in range(times):
        candidate = made.pick()
        if candidate is not None:
            found[candidate.endpoint.workload] = candidate
    return found


def share(made: Balancer, times: int = 1000) -> Counter[str]:
    """How often each is picked, when nothing is learned meanwhile."""
    return Counter(made.pick().endpoint.workload for _ in range(times))  # type: ignore[union-attr]


def test_without_endpoints_there_is_nothing_to_pick() -> None:
    made, _ = balancer()

    assert made.pick() is None
    assert made.size == 0


def test_a_single_endpoint_is_picked_whatever_it_is_like() -> None:
    made, clock = balancer(endpoint(1))
    only = made.pick()
    assert only is not None
    only.in_flight = 1000
    only.answered(100.0, clock.monotonic())
    only.unreachable(clock.monotonic())

    assert made.pick() is only
    assert made.pick(avoid=only) is only


@given(
    st.integers(2, 12),
    st.tuples(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True)),
)
def test_the_two_that_are_drawn_are_always_different(
    size: int, chances: tuple[float, float]
) -> None:
    made = Balancer(ManualClock(chances=chances))
    made.update([(endpoint(n), 8000) for n in range(size)])

    a, b = made._two_of(made._eligible)
    assert a is not None
    assert b is not None
    assert a is not b


def test_among_equals_all_have_their_turn() -> None:
    made, _ = balancer(*(endpoint(n) for n in range(5)))
    counts = share(made, 2000)

    assert len(counts) == 5
    # A tie goes to the one drawn first, which is even.
    assert max(counts.values()) < 2 * min(counts.values())


def test_the_slowest_of_three_is_not_asked_and_the_quickest_most() -> None:
    made, clock = balancer(endpoint(1), endpoint(2), endpoint(3))
    found = every(made)
    for _ in range(50):
        clock.advance(1.0)
        for name, seconds in (("w-1", 0.001), ("w-2", 0.1), ("w-3", 1.0)):
            found[name].answered(seconds, clock.monotonic())
    counts = share(made)

    assert counts["w-3"] == 0
    assert counts["w-1"] > 1.5 * counts["w-2"] > 0


def test_the_one_with_fewer_requests_in_flight_is_preferred() -> None:
    made, _ = balancer(endpoint(1), endpoint(2))
    every(made)["w-1"].in_flight = 5

    assert set(share(made)) == {"w-2"}


def test_load_spreads_by_weight() -> None:
    made, _ = balancer(endpoint(1, weight=30_000), endpoint(2, weight=10_000))
    for _ in range(80):
        candidate = made.pick()
        assert candidate is not None
        candidate.in_flight += 1
    found = every(made)

    assert found["w-1"].in_flight == pytest.approx(60, abs=2)


def test_what_is_not_ready_or_has_no_weight_is_not_picked() -> None:
    made, _ = balancer(endpoint(1, ready=False), endpoint(2, weight=0), endpoint(3))

    assert set(every(made)) == {"w-3"}
    assert made.size == 1
    made.update([(endpoint(1, ready=False), 8000), (endpoint(2, weight=0), 8000)])
    assert made.pick() is None


def test_a_slow_answer_counts_at_once_and_is_forgotten_slowly() -> None:
    made, clock = balancer(endpoint(1))
    only = made.pick()
    assert only is not None
    only.answered(0.001, clock.monotonic())
    only.answered(2.0, clock.monotonic())
    assert only.cost(clock.monotonic()) == pytest.approx(2.0)

    clock.advance(1.0)
    only.answered(0.001, clock.monotonic())
    assert 1.5 < only.cost(clock.monotonic()) < 2.0
    clock.advance(10 * DECAY)
    assert only.cost(clock.monotonic()) < 0.001


def test_one_that_never_answered_is_assumed_to_be_neither_quick_nor_slow() -> None:
    made, clock = balancer(endpoint(1))
    only = made.pick()
    assert only is not None

    assert only.cost(clock.monotonic()) == pytest.approx(DEFAULT_RTT)


def test_one_that_was_slow_is_asked_again_after_a_while() -> None:
    made, clock = balancer(endpoint(1), endpoint(2))
    found = every(made)
    found["w-1"].answered(5.0, clock.monotonic())
    assert set(share(made)) == {"w-2"}

    for _ in range(100):
        clock.advance(1.0)
        found["w-2"].answered(0.01, clock.monotonic())
    assert "w-1" in share(made)


def test_one_that_cannot_be_reached_rests_longer_each_time_until_it_answers() -> None:
    made, clock = balancer(endpoint(1), endpoint(2), endpoint(3))
    found = every(made)
    rests = []
    for _ in range(12):
        found["w-1"].unreachable(clock.monotonic())
        rests.append(found["w-1"].rests_until - clock.monotonic())
        assert set(share(made)) == {"w-2", "w-3"}
        clock.advance(rests[-1] + 0.001)
        assert "w-1" in share(made)

    assert rests == sorted(rests)
    assert rests[0] == pytest.approx(0.1)
    assert rests[-1] == LONGEST_REST
    found["w-1"].answered(0.001, clock.monotonic())
    found["w-1"].unreachable(clock.monotonic())
    assert found["w-1"].rests_until - clock.monotonic() == pytest.approx(0.1)


def test_when_all_rest_one_is_picked_nevertheless() -> None:
    made, clock = balancer(endpoint(1), endpoint(2))
    for candidate in every(made).values():
        candidate.unreachable(clock.monotonic())

    assert made.pick() is not None


def test_the_one_to_avoid_is_avoided_while_there_is_another() -> None:
    made, _ = balancer(endpoint(1), endpoint(2), endpoint(3))
    failed = every(made)["w-1"]

    assert {made.pick(avoid=failed).endpoint.workload for _ in range(200)} == {"w-2", "w-3"}  # type: ignore[union-attr]


def test_what_was_learned_outlives_an_update() -> None:
    made, clock = balancer(endpoint(1), endpoint(2))
    before = every(made)
    before["w-1"].in_flight = 3
    before["w-1"].answered(7.0, clock.monotonic())
    before["w-1"].notes["key"] = "x"
    made.update([(endpoint(1), 8000), (endpoint(3), 8000)])
    after = every(made)

    assert set(share(made)) == {"w-3"}
    made.update([(endpoint(1), 8000)])
    only = made.pick()
    assert only is before["w-1"]
    assert only.notes == {"key": "x"}
    assert after["w-3"].in_flight == 0


def test_an_endpoint_that_changed_keeps_its_latency_and_loses_its_notes() -> None:
    made, clock = balancer(endpoint(1))
    before = made.pick()
    assert before is not None
    before.answered(7.0, clock.monotonic())
    before.notes["counter"] = "x"
    made.update([(endpoint(1, zone="b"), 8000)])
    after = made.pick()

    assert after is before
    assert after.endpoint.zone == "b"
    assert after.notes == {}
    assert after.cost(clock.monotonic()) == pytest.approx(7.0)


def test_another_workload_at_the_same_address_begins_anew() -> None:
    made, clock = balancer(endpoint(1))
    before = made.pick()
    assert before is not None
    before.answered(7.0, clock.monotonic())
    made.update([(endpoint(1, uid="another"), 8000)])

    assert made.pick() is not before


def test_whoever_waits_is_told_of_the_next_update_once_unless_it_took_that_back() -> None:
    made, _ = balancer()
    told: list[str] = []
    made.on_update(lambda: told.append("a"))
    forget = made.on_update(lambda: told.append("b"))
    forget()
    made.update([(endpoint(1), 8000)])
    made.update([])
    forget()

    assert told == ["a"]
    assert not made._waiting


def test_one_who_is_told_may_wait_again() -> None:
    made, _ = balancer()
    told: list[int] = []

    def again() -> None:
        told.append(made.size)
        made.on_update(again)

    made.on_update(again)
    made.update([(endpoint(1), 8000)])
    made.update([])

    assert told == [1, 0]


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.booleans(), st.sampled_from([0, 1, 10_000])), max_size=10
    )
)
@settings(max_examples=50, deadline=None)
def test_only_the_fit_are_ever_picked(
    described: list[tuple[int, bool, int]],
) -> None:
    endpoints = {n: endpoint(n, ready=ready, weight=weight) for n, ready, weight in described}
    made, _ = balancer(*endpoints.values())
    fit = {one.workload for one in endpoints.values() if one.ready and one.weight}

    assert set(every(made, 30)) <= fit
    assert (made.pick() is None) is (not fit)


def test_picking_costs_the_same_whatever_the_size_of_the_service() -> None:
    made, _ = balancer(*(endpoint(n, address=f"10.0.{n // 250}.{n % 250}") for n in range(2000)))
    looked: list[Candidate] = []

    class Watched(list[Candidate]):
        def __iter__(self):  # type: ignore[no-untyped-def]
            looked.append(self[0])
            return super().__iter__()

    made._eligible = Watched(made._eligible)
    for _ in range(10):
        made.pick()

    assert looked == []
