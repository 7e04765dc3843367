"""When another leaf is asked for, because another anchor signs: soon, and seldom if it does not help."""

from common.clock import ManualClock
from proxy.control.another import Another


def waits(another: Another, clock: ManualClock, signing: str, times: int) -> list[float]:
    """For how long it waits each time, if what comes never fits."""
    found = []
    for _ in range(times):
        assert another.see(signing, fits=False)
        found.append(another.at - clock.now())
        clock.advance(found[-1])
        another.asked()
    return found


def test_as_long_as_it_does_not_help_it_is_asked_for_ever_less_often() -> None:
    clock = ManualClock()

    assert waits(Another(clock), clock, "new", 7) == [1, 2, 4, 8, 16, 30, 30]


def test_not_everybody_asks_at_once() -> None:
    clock = ManualClock(chances=(0.0, 0.25, 0.75, 1.0))
    first = [waits(Another(clock), clock, "new", 1) for _ in range(4)]

    assert first == [[2.0], [1.5], [0.5], [0.0]]


def test_what_is_planned_stays_planned() -> None:
    clock = ManualClock()
    another = Another(clock)
    assert another.see("new", fits=False)
    planned = another.at
    clock.advance(0.5)

    assert not another.see("new", fits=False)
    assert another.at == planned


def test_a_leaf_that_fits_ends_it_and_the_next_anchor_is_asked_for_soon() -> None:
    clock = ManualClock()
    another = Another(clock)
    waits(another, clock, "new", 5)

    assert not another.see("new", fits=True)
    assert another.at == float("inf")
    assert waits(another, clock, "newer", 1) == [1]


def test_an_anchor_that_was_not_asked_for_before_is_not_waited_for_long() -> None:
    clock = ManualClock()
    another = Another(clock)
    waits(another, clock, "new", 5)
    another.see("new", fits=False)

    assert another.see("newer", fits=False)
    assert another.at - clock.now() == 1
