"""Which endpoint is picked: by latency and load, readiness, rest, weight and age."""

import itertools
from collections import Counter

import pytest

from common.clock import ManualClock
from common.contract.discovery import Endpoint
from proxy.decide.balance import Balancer
from proxy.decide.candidate import DECAY, LONGEST_REST, Candidate
from tests.support.endpoints import Client, SeededClock, endpoint, endpoints


def served(balancer: Balancer, clock: ManualClock, rtt: float = 0.010) -> dict[str, Candidate]:
    """Let every ready endpoint answer once; returns them by name."""
    found: dict[str, Candidate] = {}
    for _ in range(200):
        candidate = balancer.pick()
        assert candidate is not None
        found[candidate.endpoint.workload] = candidate
    for candidate in found.values():
        candidate.answered(rtt, clock.monotonic())
    return found


def picks(balancer: Balancer, count: int = 1000) -> Counter[str]:
    asked: Counter[str] = Counter()
    for _ in range(count):
        candidate = balancer.pick()
        assert candidate is not None
        asked[candidate.endpoint.workload] += 1
    return asked


def test_none_is_picked_where_none_is_ready() -> None:
    balancer = Balancer(SeededClock())
    assert balancer.pick() is None

    balancer.update([endpoint("web-1", ready=False), endpoint("web-2", weight=0)])

    assert balancer.pick() is None


def test_equal_endpoints_get_equal_shares() -> None:
    balancer = Balancer(SeededClock())
    balancer.update(endpoints(5))

    assert all(900 < count < 1100 for count in picks(balancer, 5000).values())


def test_every_pair_is_drawn_by_the_one_chance() -> None:
    clock = SeededClock()
    balancer = Balancer(clock)
    balancer.update(endpoints(4))
    found = served(balancer, clock)

    for expensive in found.values():
        expensive.in_flight += 100
        seen = picks(balancer, 300)
        assert set(seen) == set(found) - {expensive.endpoint.workload}
        expensive.in_flight -= 100


def test_the_slower_of_two_is_asked_less_and_the_one_with_the_longer_queue_too() -> None:
    clock = SeededClock()
    balancer = Balancer(clock)
    balancer.update(endpoints(2))
    found = served(balancer, clock)

    found["web-1"].answered(0.5, clock.monotonic())
    assert picks(balancer, 100) == {"web-2": 100}

    found["web-2"].in_flight = 100
    assert picks(balancer, 100) == {"web-1": 100}


def test_a_peak_counts_at_once_and_fades() -> None:
    clock = SeededClock()
    balancer = Balancer(clock)
    balancer.update(endpoints(2))
    found = served(balancer, clock, rtt=0.010)

    found["web-1"].answered(0.1, clock.monotonic())
    assert found["web-1"].cost(clock.monotonic()) == pytest.approx(0.1)
    clock.advance(DECAY)
    assert found["web-1"].cost(clock.monotonic()) == pytest.approx(0.1 / 2.71828, rel=1e-3)


def test_fading_in_steps_is_fading_all_the_same() -> None:
    clock = SeededClock()
    balancer = Balancer(clock)
    balancer.update(endpoints(2))
    stepwise = served(balancer, clock, rtt=0.1)["web-1"]
    for _ in range(1000):
        clock.advance(DECAY / 1000)
        balancer.pick()

    assert stepwise.cost(clock.monotonic()) == pytest.approx(0.1 / 2.71828, rel=0.03)


def test_answers_that_are_too_quick_for_the_clock_still_leave_queues_to_count() -> None:
    clock = SeededClock()
    balancer = Balancer(clock)
    balancer.update(endpoints(2))
    found = served(balancer, clock, rtt=0.0)

    found["web-1"].in_flight = 1

    assert picks(balancer, 100) == {"web-2": 100}


def test_one_that_nobody_has_asked_is_expected_to_be_like_the_others() -> None:
    """Assumed slower than those that were asked, it would not be asked for half a minute."""
    clock = SeededClock()
    balancer = Balancer(clock)
    balancer.update(endpoints(3))
    first = balancer.pick()
    assert first is not None
    first.answered(0.001, clock.monotonic())

    assert set(picks(balancer, 100)) == {"web-1", "web-2", "web-3"}


def test_what_was_learned_of_those_that_stay_is_kept() -> None:
    clock = SeededClock()
    balancer = Balancer(clock)
    balancer.update(endpoints(2))
    found = served(balancer, clock)
    found["web-1"].answered(5.0, clock.monotonic())

    balancer.update([endpoint("web-1", zone="eu-1"), endpoint("web-2")])

    assert picks(balancer, 100) == {"web-2": 100}


def test_another_workload_at_the_same_address_is_another_endpoint() -> None:
    clock = SeededClock()
    balancer = Balancer(clock)
    balancer.update(endpoints(2))
    before = served(balancer, clock)["web-1"]

    balancer.update([endpoint("web-1", uid="new"), endpoint("web-2")])

    assert before not in {balancer.pick() for _ in range(500)}


# What could not be connected to.


def test_one_that_cannot_be_connected_to_rests_and_is_asked_again() -> None:
    clock = SeededClock()
    balancer = Balancer(clock)
    balancer.update(endpoints(3))
    found = served(balancer, clock)

    found["web-1"].unreachable(clock.monotonic())
    assert "web-1" not in picks(balancer, 300)

    clock.advance(0.11)
    assert "web-1" in picks(balancer, 300)


def test_rests_become_longer_and_end_with_the_first_answer() -> None:
    clock = SeededClock()
    balancer = Balancer(clock)
    balancer.update(endpoints(2))
    failing = served(balancer, clock)["web-1"]
    rests = []
    for _ in range(10):
        failing.unreachable(clock.monotonic())
        rests.append(round(failing.rests_until - clock.monotonic(), 3))
        clock.advance(rests[-1])

    assert rests == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, LONGEST_REST, LONGEST_REST, LONGEST_REST]
    failing.unreachable(clock.monotonic())
    failing.answered(0.01, clock.monotonic())
    assert failing.rests_until == 0.0
    failing.unreachable(clock.monotonic())
    assert failing.rests_until == pytest.approx(clock.monotonic() + 0.1)


def test_many_requests_that_wait_for_one_connection_are_one_failure() -> None:
    clock = SeededClock()
    balancer = Balancer(clock)
    balancer.update(endpoints(2))
    failing = served(balancer, clock)["web-1"]

    for _ in range(50):
        failing.unreachable(clock.monotonic())

    assert failing.rests_until == pytest.approx(clock.monotonic() + 0.1)


def test_when_all_rest_all_are_asked() -> None:
    clock = SeededClock()
    balancer = Balancer(clock)
    balancer.update(endpoints(3))
    for candidate in served(balancer, clock).values():
        candidate.unreachable(clock.monotonic())

    assert set(picks(balancer, 300)) == {"web-1", "web-2", "web-3"}


def test_those_that_rest_are_not_asked_while_there_is_a_single_other() -> None:
    """A connection that is refused helps nobody, however few are left."""
    clock = SeededClock()
    balancer = Balancer(clock)
    balancer.update(endpoints(10))
    for name, candidate in served(balancer, clock).items():
        if name != "web-7":
            candidate.unreachable(clock.monotonic())

    assert picks(balancer, 300) == {"web-7": 300}


def test_what_has_just_failed_is_avoided_if_there_is_another() -> None:
    clock = SeededClock()
    balancer = Balancer(clock)
    balancer.update(endpoints(2))
    found = served(balancer, clock)
    found["web-2"].answered(9.0, clock.monotonic())

    assert {balancer.pick(avoid=found["web-1"]) for _ in range(20)} == {found["web-2"]}
    balancer.update(endpoints(1))
    assert balancer.pick(avoid=found["web-1"]) is found["web-1"]


# Weights.


@pytest.mark.parametrize("in_flight", [0.1, 1, 10, 50])
@pytest.mark.parametrize("weights", [(1, 9), (1, 2, 3, 4), (1, 1, 2), (3, 3, 3, 1)])
def test_shares_follow_weights_at_every_load(weights: tuple[int, ...], in_flight: float) -> None:
    """`in_flight` is how many requests there are at a time, all endpoints together."""
    clock = SeededClock()
    balancer = Balancer(clock)
    balancer.update([endpoint(f"web-{n}", weight=1000 * w) for n, w in enumerate(weights, start=1)])
    client = Client(balancer, clock)

    client.run(20_000, per_second=in_flight / 0.010)

    # A queue of one is a whole request: a light endpoint cannot have less of it than that.
    tolerance = 0.2 if in_flight > 1 else 0.4
    for number, weight in enumerate(weights, start=1):
        fair = 20_000 * weight / sum(weights)
        assert client.asked[f"web-{number}"] == pytest.approx(fair, rel=tolerance)


def test_a_slow_endpoint_gets_less_than_its_weight() -> None:
    clock = SeededClock()
    balancer = Balancer(clock)
    balancer.update([endpoint("web-1", weight=20_000), endpoint("web-2", weight=10_000)])
    client = Client(balancer, clock, seconds=lambda name: 0.1 if name == "web-1" else 0.01)

    client.run(5000, per_second=100)

    assert client.asked["web-1"] < 0.55 * 5000


# New endpoints.


def warm_up(balancer: Balancer, clock: SeededClock) -> None:
    client = Client(balancer, clock)
    client.run(1000, per_second=1000)
    client.finish()


def shares_of_newcomer(clock: SeededClock, balancer: Balancer, seconds: int) -> list[float]:
    """Its part of the requests in each of so many seconds."""
    client, shares = Client(balancer, clock), []
    for _ in range(seconds):
        client.asked.clear()
        client.run(2000, per_second=2000)
        shares.append(client.asked["web-4"] / 2000)
    return shares


def test_a_new_endpoint_beside_others_begins_slowly() -> None:
    clock = SeededClock()
    balancer = Balancer(clock)
    balancer.update(endpoints(3))
    warm_up(balancer, clock)

    balancer.update(endpoints(4))
    shares = shares_of_newcomer(clock, balancer, 12)

    assert shares[0] < 0.08
    assert shares[4] == pytest.approx(0.15, abs=0.05)
    assert all(later > earlier - 0.03 for earlier, later in itertools.pairwise(shares))
    assert shares[10] == pytest.approx(0.25, abs=0.03)


def test_slow_start_begins_when_an_endpoint_becomes_ready() -> None:
    clock = SeededClock()
    balancer = Balancer(clock)
    balancer.update([*endpoints(3), endpoint("web-4", ready=False)])
    warm_up(balancer, clock)
    clock.advance(60.0)

    balancer.update(endpoints(4))

    assert shares_of_newcomer(clock, balancer, 1)[0] < 0.08


def test_the_first_endpoints_of_a_balancer_begin_at_once() -> None:
    clock = SeededClock()
    balancer = Balancer(clock)
    balancer.update(endpoints(3))
    balancer.update(endpoints(4))

    assert shares_of_newcomer(clock, balancer, 1)[0] == pytest.approx(0.25, abs=0.04)


def test_when_all_are_new_none_is_held_back() -> None:
    clock = SeededClock()
    balancer = Balancer(clock)
    balancer.update(endpoints(2))
    warm_up(balancer, clock)

    balancer.update([endpoint("web-3"), endpoint("web-4")])

    assert shares_of_newcomer(clock, balancer, 1)[0] == pytest.approx(0.5, abs=0.05)


# Zones.


def test_those_in_another_zone_are_asked_only_when_none_of_ones_own_is_available() -> None:
    clock = SeededClock()
    balancer = Balancer(clock)
    balancer.update(endpoints(2), spare=[endpoint("web-8"), endpoint("web-9")])
    near = served(balancer, clock)
    assert set(near) == {"web-1", "web-2"}

    near["web-1"].unreachable(clock.monotonic())
    assert set(picks(balancer, 100)) == {"web-2"}
    near["web-2"].unreachable(clock.monotonic())
    assert set(picks(balancer, 100)) == {"web-8", "web-9"}
    clock.advance(0.2)
    assert set(picks(balancer, 100)) == {"web-1", "web-2"}


# Waiting for an endpoint.


def test_who_waits_is_called_once_however_often_that_was_asked_for() -> None:
    balancer, calls = Balancer(SeededClock()), []

    def call() -> None:
        calls.append(balancer.size)

    balancer.on_update(call)
    balancer.on_update(call)
    balancer.update(endpoints(1))
    balancer.update(endpoints(2))

    assert calls == [1]


def test_who_waits_no_longer_is_not_called() -> None:
    balancer, calls = Balancer(SeededClock()), []
    balancer.on_update(lambda: calls.append(1))

    def call() -> None:
        calls.append(2)

    balancer.on_update(call)
    balancer.forget(call)
    balancer.update(endpoints(1))

    assert calls == [1]


def test_a_candidate_says_what_it_is() -> None:
    balancer = Balancer(SeededClock())
    balancer.update([(Endpoint(address="10.0.0.1", ports={}, workload="web-1"), 80)])

    assert repr(balancer.pick()) == "<Candidate web-1 10.0.0.1:80 ready ewma=30.0ms in_flight=0>"
