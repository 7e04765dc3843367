"""Endpoints that fail are left alone and come back; a service of which all fail is asked all the same."""

import pytest

from common.contract.discovery import FailureAccrual
from proxy.decide.balance import PANIC_SHARE, Balancer
from proxy.decide.candidate import Candidate, What
from tests.support.endpoints import Client, SeededClock, endpoint, endpoints

RULES = FailureAccrual(max_failures=3, min_penalty=1.0, max_penalty=60.0, jitter_ratio=0.0)


class Told:
    """What a balancer told of its endpoints."""

    def __init__(self) -> None:
        self.events: list[tuple[What, str]] = []

    def __call__(self, what: What, candidate: Candidate) -> None:
        self.events.append((what, candidate.endpoint.workload))


def make(count: int, rules: FailureAccrual | None = RULES) -> tuple[Balancer, SeededClock, Told]:
    clock, told = SeededClock(), Told()
    balancer = Balancer(clock, told)
    balancer.update(endpoints(count), rules)
    return balancer, clock, told


def all_of(balancer: Balancer, clock: SeededClock) -> dict[str, Candidate]:
    found = {}
    for _ in range(500):
        candidate = balancer.pick()
        assert candidate is not None
        found[candidate.endpoint.workload] = candidate
    return found


def trip(candidate: Candidate, clock: SeededClock) -> None:
    for _ in range(RULES.max_failures):
        candidate.failed(clock.monotonic(), clock.monotonic())


def test_one_of_three_that_fails_costs_a_handful_of_requests() -> None:
    balancer, clock, told = make(3)
    client = Client(balancer, clock, fails=lambda name: name == "web-1")

    client.run(10_000, per_second=1000)

    # Three to trip, those that were on their way then, and a probe after 1, 2, 4 seconds.
    assert client.failed <= 3 + 10 + 3
    assert told.events == [("ejected", "web-1")]


def test_two_of_three_that_fail_leave_the_third_to_answer_all() -> None:
    balancer, clock, _ = make(3)
    client = Client(balancer, clock, fails=lambda name: name != "web-1")

    client.run(10_000, per_second=1000)

    assert client.failed <= 2 * (3 + 10 + 3)


def test_without_being_asked_for_nothing_is_broken_off() -> None:
    balancer, clock, told = make(2, None)
    client = Client(balancer, clock, fails=lambda name: name == "web-1")

    client.run(2000, per_second=1000)

    assert client.failed > 500
    assert told.events == []


def test_exactly_one_request_is_the_probe_and_its_success_lets_all_in() -> None:
    balancer, clock, told = make(3)
    broken = all_of(balancer, clock)["web-1"]
    trip(broken, clock)
    clock.advance(0.99)
    assert "web-1" not in all_of(balancer, clock)

    clock.advance(0.01)
    assert balancer.pick() is broken
    started = clock.monotonic()
    assert "web-1" not in all_of(balancer, clock)

    broken.passed(started)
    assert "web-1" in all_of(balancer, clock)
    assert told.events == [("ejected", "web-1"), ("readmitted", "web-1")]


def test_a_probe_that_fails_waits_twice_as_long_and_is_not_news() -> None:
    balancer, clock, told = make(3)
    broken = all_of(balancer, clock)["web-1"]
    trip(broken, clock)
    clock.advance(1.0)
    assert balancer.pick() is broken
    broken.failed(clock.monotonic(), clock.monotonic())

    clock.advance(1.99)
    assert "web-1" not in all_of(balancer, clock)
    clock.advance(0.02)
    assert balancer.pick() is broken
    assert told.events == [("ejected", "web-1")]


def test_a_second_try_of_a_request_is_no_probe() -> None:
    balancer, clock, _ = make(3)
    found = all_of(balancer, clock)
    trip(found["web-1"], clock)
    clock.advance(5.0)

    assert {balancer.pick(avoid=found["web-2"]) for _ in range(20)} == {found["web-3"]}


def test_when_all_are_broken_all_are_asked_and_the_first_success_of_each_lets_it_in() -> None:
    balancer, clock, told = make(3)
    for candidate in all_of(balancer, clock).values():
        trip(candidate, clock)

    found = all_of(balancer, clock)
    assert set(found) == {"web-1", "web-2", "web-3"}
    clock.advance(0.001)
    for candidate in found.values():
        candidate.passed(clock.monotonic())

    assert sorted(told.events[3:]) == [("readmitted", f"web-{n}") for n in (1, 2, 3)]
    assert set(all_of(balancer, clock)) == {"web-1", "web-2", "web-3"}


def test_an_outage_of_all_is_over_as_soon_as_it_is_over() -> None:
    """No request is refused for want of endpoints, nor does any wait for a penalty to end."""
    balancer, clock, _ = make(3)
    down = True
    client = Client(balancer, clock, fails=lambda _: down)
    client.run(20_000, per_second=1000)
    client.finish()
    assert client.failed == 20_000

    down = False
    client.failed = 0
    client.run(1000, per_second=1000)
    client.finish()

    assert client.failed == 0
    assert all(client.asked[f"web-{n}"] - 20_000 / 3 + 3000 > 250 for n in (1, 2, 3))


@pytest.mark.parametrize(("ready", "broken"), [(10, 8), (4, 3), (20, 15)])
def test_below_the_panic_threshold_broken_ones_are_asked_as_well(ready: int, broken: int) -> None:
    assert (ready - broken) / ready < PANIC_SHARE
    balancer, clock, _ = make(ready)
    found = all_of(balancer, clock)
    for number in range(1, broken + 1):
        trip(found[f"web-{number}"], clock)

    asked = [balancer.pick() for _ in range(10_000)]

    assert {c.endpoint.workload for c in asked if c} == set(found)
    for number in range(broken + 1, ready + 1):
        share = asked.count(found[f"web-{number}"]) / 10_000
        assert 1 / ready < share < 2.1 / ready


@pytest.mark.parametrize(("ready", "broken"), [(2, 1), (3, 2), (10, 7)])
def test_above_the_panic_threshold_they_are_not(ready: int, broken: int) -> None:
    balancer, clock, _ = make(ready)
    found = all_of(balancer, clock)
    for number in range(1, broken + 1):
        trip(found[f"web-{number}"], clock)

    assert set(all_of(balancer, clock)) == {f"web-{n}" for n in range(broken + 1, ready + 1)}


def test_endpoints_that_are_not_ready_do_not_count_in_a_panic() -> None:
    balancer, clock, _ = make(2)
    others = [endpoint(f"web-{n}", ready=False) for n in range(3, 10)]
    balancer.update([*endpoints(2), *others], RULES)
    trip(all_of(balancer, clock)["web-1"], clock)

    assert set(all_of(balancer, clock)) == {"web-2"}


def test_a_connection_that_fails_counts_once_for_all_that_waited_for_it() -> None:
    balancer, clock, told = make(2)
    failing = all_of(balancer, clock)["web-1"]
    for _ in range(2):
        for _ in range(50):
            failing.unreachable(clock.monotonic())
        clock.advance(11.0)
    assert told.events == []

    failing.unreachable(clock.monotonic())

    assert told.events == [("ejected", "web-1")]


def test_rules_may_change_and_be_taken_away_while_one_is_broken() -> None:
    balancer, clock, _ = make(3)
    found = all_of(balancer, clock)
    trip(found["web-1"], clock)

    balancer.update(endpoints(3), FailureAccrual(max_failures=1))
    assert "web-1" not in all_of(balancer, clock)
    found["web-2"].failed(clock.monotonic(), clock.monotonic())
    assert set(all_of(balancer, clock)) == {"web-3"}

    balancer.update(endpoints(3), None)
    assert set(all_of(balancer, clock)) == {"web-1", "web-2", "web-3"}


def test_a_broken_zone_is_left_for_another() -> None:
    clock = SeededClock()
    balancer = Balancer(clock)
    balancer.update(endpoints(2), RULES, spare=[endpoint("web-9")])
    for candidate in all_of(balancer, clock).values():
        trip(candidate, clock)

    assert set(all_of(balancer, clock)) == {"web-9"}
