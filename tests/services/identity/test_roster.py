"""Who is there, and what each lacks: acknowledgements and connections in, reasons out."""

import pytest

from common.clock import ManualClock
from common.contract import subjects
from common.contract.events import Ack, Lifecycle, Phase, ShownLeaf
from common.names import WorkloadName
from services.identity.roster import SILENT_SECONDS, Roster, Wanted

OLD, NEW = "aa" * 20, "bb" * 20
ADDED = Wanted(revision=7, signing=OLD, anchors=(OLD, NEW))
SWITCHED = Wanted(revision=9, signing=NEW, anchors=(NEW, OLD))
WEB, DESTINATION = "shop/web", "_/destination"


def leaf(*signed_by: str) -> ShownLeaf:
    return ShownLeaf(serial="1", identity="spiffe://x", not_after=0.0, signed_by=signed_by)


def ack(
    name: str, revision: int, shown: ShownLeaf | None = None, uid: str = "u"
) -> tuple[str, Ack]:
    namespace, _, own = name.partition("/")
    subject = (
        subjects.role_ack(own) if namespace == "_" else subjects.ack(WorkloadName(namespace, own))
    )
    revisions = {subjects.trust().subject: revision}
    said = Ack(
        namespace=namespace, workload=own, uid=uid, revisions=revisions, leaf=shown, time=0.0
    )
    return subject.subject, said


def lacks(roster: Roster, wanted: Wanted, name: str = WEB) -> str:
    return roster.standing([name], wanted).waiting.get(name, "")


def test_whoever_has_the_bundle_in_force_and_a_leaf_that_goes_with_it_is_current() -> None:
    roster = Roster(ManualClock())
    roster.hear(*ack(WEB, 7, leaf("issuer", OLD)))

    assert roster.standing([WEB], ADDED).current == {WEB}


def test_an_older_bundle_is_not_enough() -> None:
    roster = Roster(ManualClock())
    roster.hear(*ack(WEB, 6, leaf(OLD)))

    assert lacks(roster, ADDED) == "has revision 6 of the bundle; expected 7"


@pytest.mark.parametrize(
    ("signed_by", "wanted", "fits"),
    [
        ((OLD,), SWITCHED, False),
        ((NEW,), SWITCHED, True),
        # Vouched for by the old anchor as well: what it is below first counts.
        (("issuer", NEW, OLD), SWITCHED, True),
        (("issuer", NEW, OLD), ADDED, False),
        (("somebody",), SWITCHED, False),
    ],
)
def test_a_leaf_is_below_the_first_anchor_of_its_chain(
    signed_by: tuple[str, ...], wanted: Wanted, fits: bool
) -> None:
    roster = Roster(ManualClock())
    roster.hear(*ack(WEB, 9, leaf(*signed_by)))

    assert (lacks(roster, wanted) == "") is fits


def test_who_is_connected_and_says_nothing_is_waited_for() -> None:
    roster = Roster(ManualClock())
    roster.connect({WEB})

    assert roster.present() == {WEB}
    assert lacks(roster, ADDED) == "connected to the bus, but has acknowledged nothing"


def test_who_acknowledged_an_older_bundle_and_fell_silent_is_told_so() -> None:
    clock = ManualClock()
    roster = Roster(clock)
    roster.hear(*ack(WEB, 6, leaf(OLD)))
    clock.advance(SILENT_SECONDS + 1)

    assert lacks(roster, ADDED) == "silent for 36 s"
    assert roster.present() == frozenset()


def test_a_replica_of_a_service_that_went_away_is_not_waited_for() -> None:
    clock = ManualClock()
    roster = Roster(clock)
    roster.hear(*ack(DESTINATION, 6, uid="a:1"))
    clock.advance(SILENT_SECONDS + 1)
    roster.hear(*ack(DESTINATION, 7, uid="b:1"))

    assert lacks(roster, ADDED, DESTINATION) == ""


def test_every_replica_of_a_service_counts() -> None:
    roster = Roster(ManualClock())
    roster.hear(*ack(DESTINATION, 6, uid="a:1"))
    roster.hear(*ack(DESTINATION, 7, uid="b:1"))

    assert "has revision 6" in lacks(roster, ADDED, DESTINATION)


def test_a_proxy_that_restarted_stands_for_itself_only() -> None:
    roster = Roster(ManualClock())
    roster.hear(*ack(WEB, 6, leaf(OLD), uid="before"))
    roster.hear(*ack(WEB, 7, leaf(OLD), uid="after"))

    assert lacks(roster, ADDED) == ""


def test_nobody_acknowledges_for_another() -> None:
    roster = Roster(ManualClock())
    subject, _ = ack("shop/thief", 7)
    _, said = ack(WEB, 7)

    roster.hear(subject, said)

    assert roster.present() == frozenset()


def phase(name: Phase) -> tuple[str, Lifecycle]:
    subject = subjects.lifecycle(WorkloadName("shop", "web"), name).subject
    return subject, Lifecycle(namespace="shop", workload="web", uid="u", phase=name, time=0.0)


@pytest.mark.parametrize("said", ["started", "stopped"])
def test_nobody_comes_or_goes_for_another(said: Phase) -> None:
    """A pod that says so of others would have a rotation cut them off, or wait for nobody for ever."""
    roster = Roster(ManualClock())
    if said == "stopped":
        roster.hear(*ack(WEB, 6))
    before = roster.present()
    _, event = phase(said)

    roster.enter(subjects.lifecycle(WorkloadName("shop", "thief"), said).subject, event)

    assert roster.present() == before
    assert not roster.departed


def test_who_stopped_in_good_order_has_departed_until_heard_of_again() -> None:
    roster = Roster(ManualClock())
    roster.hear(*ack(WEB, 6))

    roster.enter(*phase("stopped"))

    assert roster.present() == frozenset()
    assert roster.departed == {WEB}

    roster.hear(*ack(WEB, 7))

    assert roster.departed == set()


def test_who_has_just_come_is_waited_for_before_the_first_acknowledgement() -> None:
    roster = Roster(ManualClock())
    roster.enter(*phase("stopped"))

    roster.enter(*phase("started"))

    assert roster.present() == {WEB}
    assert roster.departed == set()
    assert "has said nothing lately" in lacks(roster, ADDED)


def test_who_holds_a_leaf_below_an_anchor_is_known_even_when_silent() -> None:
    clock = ManualClock()
    roster = Roster(clock)
    roster.hear(*ack(WEB, 9, leaf("issuer", NEW)))
    clock.advance(SILENT_SECONDS * 10)

    assert roster.holding(NEW) == {WEB}
    assert roster.holding(OLD) == frozenset()


def test_of_too_many_those_that_were_heard_of_last_are_remembered() -> None:
    clock = ManualClock()
    roster = Roster(clock, most=3)
    for number in (1, 2, 3, 1, 4):
        roster.hear(*ack(f"shop/web-{number}", 7, leaf(OLD)))

    assert roster.present() == roster.holding(OLD) == {"shop/web-3", "shop/web-1", "shop/web-4"}

    for number in range(5):
        name = WorkloadName("shop", f"gone-{number}")
        event = Lifecycle(namespace="shop", workload=name.name, uid="u", phase="stopped", time=0.0)
        roster.enter(subjects.lifecycle(name, "stopped").subject, event)

    assert roster.departed == {"shop/gone-2", "shop/gone-3", "shop/gone-4"}


def test_who_came_and_never_said_anything_is_forgotten() -> None:
    clock = ManualClock()
    roster = Roster(clock)
    roster.enter(*phase("started"))
    clock.advance(SILENT_SECONDS + 1)

    assert roster.present() == frozenset()


def test_a_silent_one_hides_nobody_who_was_heard_of_before_and_after() -> None:
    clock = ManualClock()
    roster = Roster(clock)
    roster.hear(*ack("shop/early", 7))
    roster.hear(*ack(DESTINATION, 7, uid="a:1"))
    clock.advance(SILENT_SECONDS - 5)
    roster.hear(*ack("shop/early", 7))
    roster.hear(*ack(WEB, 7, leaf(OLD)))
    clock.advance(10)

    assert roster.present() == {"shop/early", WEB}
    assert roster.workloads().keys() == {"shop/early", WEB}
    assert roster.workloads()[WEB].leaf == leaf(OLD)


def test_replicas_that_went_away_are_not_remembered_when_their_service_goes_on() -> None:
    clock = ManualClock()
    roster = Roster(clock)
    roster.hear(*ack(DESTINATION, 7, leaf(OLD), uid="a:1"))
    clock.advance(SILENT_SECONDS + 1)
    roster.hear(*ack(DESTINATION, 7, leaf(NEW), uid="b:1"))

    assert roster.holding(OLD) == frozenset()
    assert roster.holding(NEW) == {DESTINATION}
