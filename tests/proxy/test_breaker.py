"""When an endpoint that fails is shut out, for how long, and how it comes back."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.contract.discovery import FailureAccrual
from proxy.decide.breaker import TRANSITIONS, Breaker, Event, State

RULES = FailureAccrual(max_failures=3, min_penalty=1.0, max_penalty=60.0, jitter_ratio=0.5)


def tripped(at: float = 100.0, chance: float = 0.0, rules: FailureAccrual = RULES) -> Breaker:
    breaker = Breaker(rules)
    for _ in range(rules.max_failures):
        breaker.failed(at, at, chance)
    return breaker


def state(breaker: Breaker) -> State:
    return breaker.state


def test_so_many_failures_in_a_row_open_it_and_not_one_less() -> None:
    breaker = Breaker(RULES)

    assert [breaker.failed(1.0, 1.0, 0.0) for _ in range(3)] == [False, False, True]
    assert state(breaker) is State.OPEN


def test_one_success_makes_it_forget_the_failures_before() -> None:
    breaker = Breaker(RULES)
    for _ in range(10):
        breaker.failed(1.0, 1.0, 0.0)
        breaker.failed(1.0, 1.0, 0.0)
        breaker.passed(1.0)

    assert state(breaker) is State.CLOSED


def test_a_probe_that_passes_closes_it() -> None:
    breaker = tripped(at=100.0)
    assert breaker.until == 101.0

    breaker.probe(101.0)
    assert state(breaker) is State.PROBING
    assert breaker.passed(101.0)
    assert state(breaker) is State.CLOSED


def test_each_probe_that_fails_doubles_the_penalty_up_to_the_longest() -> None:
    breaker, now, penalties = tripped(at=100.0), 100.0, []
    for _ in range(9):
        penalties.append(breaker.penalty)
        now = breaker.until
        breaker.probe(now)
        assert breaker.failed(now, now, 0.0)

    assert penalties == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_after_a_success_penalties_begin_anew() -> None:
    breaker = tripped(at=100.0)
    breaker.probe(101.0)
    breaker.failed(101.0, 101.0, 0.0)
    assert breaker.penalty == 2.0
    breaker.probe(103.0)
    breaker.passed(103.0)

    for _ in range(3):
        breaker.failed(110.0, 110.0, 0.0)

    assert breaker.penalty == 1.0


@given(st.floats(min_value=0, max_value=1, exclude_max=True))
def test_chance_lengthens_a_penalty_by_at_most_the_jitter_ratio(chance: float) -> None:
    assert 1.0 <= tripped(chance=chance).penalty <= 1.5


def test_what_was_sent_before_it_opened_says_nothing_new() -> None:
    breaker = tripped(at=100.0)

    assert not breaker.passed(started=99.9)
    assert state(breaker) is State.OPEN
    breaker.probe(101.0)
    assert not breaker.passed(started=99.9)
    assert not breaker.failed(started=99.9, now=101.5, chance=0.0)
    assert not breaker.vanished(started=99.9, now=101.5)
    assert state(breaker) is State.PROBING


def test_one_that_is_asked_although_it_is_open_may_prove_itself() -> None:
    breaker = tripped(at=100.0)

    assert breaker.passed(started=100.2)
    assert state(breaker) is State.CLOSED


def test_a_failure_while_it_is_open_makes_the_penalty_no_longer() -> None:
    breaker = tripped(at=100.0)

    assert not breaker.failed(started=100.2, now=100.3, chance=0.0)
    assert breaker.until == 101.0


def test_a_probe_whose_client_left_is_repeated_at_once() -> None:
    breaker = tripped(at=100.0)
    breaker.probe(101.0)

    assert breaker.vanished(started=101.0, now=101.2)
    assert state(breaker) is State.OPEN
    assert breaker.until == 101.2
    assert breaker.penalty == 1.0


def test_a_probe_that_does_not_end_does_not_shut_it_out_for_ever() -> None:
    breaker = tripped(at=100.0)
    breaker.probe(101.0)

    assert breaker.until == 102.0
    assert not breaker.probe(102.0)
    assert state(breaker) is State.PROBING
    assert breaker.passed(started=102.0)


def test_a_long_answer_that_has_begun_well_is_proof_enough() -> None:
    breaker = tripped(at=100.0)
    breaker.probe(101.0)
    breaker.fares_well = lambda: True

    assert breaker.probe(102.0)
    assert state(breaker) is State.CLOSED
    assert breaker.fares_well is None


MEANT = {
    State.CLOSED: {Event.TRIPPED},
    State.OPEN: {Event.WAITED, Event.PASSED},
    State.PROBING: {Event.WAITED, Event.PASSED, Event.FAILED, Event.VANISHED},
}


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_each_event_means_something_only_where_it_can(state: State, event: Event) -> None:
    assert ((state, event) in TRANSITIONS) == (event in MEANT[state])


steps = st.lists(
    st.tuples(
        st.sampled_from(["passed", "failed", "probe", "vanished"]),
        st.floats(min_value=0, max_value=5),
        st.floats(min_value=0, max_value=5),
    ),
    max_size=40,
)


@given(steps)
def test_whatever_happens_the_next_probe_is_never_further_off_than_the_longest_penalty(
    history: list[tuple[str, float, float]],
) -> None:
    breaker, now = Breaker(RULES), 100.0
    for what, later, age in history:
        now += later
        if what == "passed":
            breaker.passed(now - age)
        elif what == "failed":
            breaker.failed(now - age, now, 0.5)
        elif what == "vanished":
            breaker.vanished(now - age, now)
        elif breaker.state is not State.CLOSED and breaker.until <= now:
            breaker.probe(now)
        assert state(breaker) is State.CLOSED or breaker.until <= now + RULES.max_penalty
