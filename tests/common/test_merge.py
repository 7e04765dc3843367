"""Whatever a follower sees in whatever order, what it believes only gets newer."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from common.bus.merge import Change, Merge
from common.contract.discovery import Service

REVISIONS = (3, 7, 8, 20, 21)
"""What one subject's documents were numbered: other subjects share the stream."""


def document(revision: int, deleted: bool = False) -> Service:
    return Service(namespace="shop", name="web", slices=(f"r{revision}",), deleted=deleted)


HISTORY = {revision: document(revision) for revision in REVISIONS}

heard = st.sampled_from(REVISIONS).map(lambda revision: ("heard", revision))
got = st.sampled_from(REVISIONS).map(lambda revision: ("got", revision))
sightings = st.lists(st.one_of(heard, got, st.just(("nothing", 0))), max_size=30)


def see(merge: Merge[Service], how: str, revision: int) -> Change[Service] | None:
    if how == "nothing":
        return merge.got_nothing()
    if how == "got":
        return merge.got(HISTORY[revision], revision)
    before = [r for r in (0, *REVISIONS) if r < revision][-1]
    return merge.heard(HISTORY[revision], revision, before)


def applied(merge: Merge[Service], seen: list[tuple[str, int]]) -> list[int]:
    changes = [see(merge, how, revision) for how, revision in seen]
    return [change.revision for change in changes if change is not None]


@given(sightings)
def test_applied_revisions_strictly_increase(seen: list[tuple[str, int]]) -> None:
    revisions = applied(Merge(), seen)

    assert all(earlier < later for earlier, later in pairwise(revisions))


@given(sightings, sightings)
def test_once_a_fresh_get_has_answered_the_newest_document_is_believed_for_good(
    seen: list[tuple[str, int]], later: list[tuple[str, int]]
) -> None:
    merge: Merge[Service] = Merge()
    applied(merge, [*seen, ("got", REVISIONS[-1]), *later])

    assert (merge.document, merge.revision) == (HISTORY[REVISIONS[-1]], REVISIONS[-1])


@given(st.permutations([("heard", revision) for revision in REVISIONS]), sightings)
def test_once_all_that_was_said_has_arrived_in_any_order_the_newest_is_believed(
    said: list[tuple[str, int]], others: list[tuple[str, int]]
) -> None:
    merge: Merge[Service] = Merge()
    applied(merge, said + others)

    assert merge.revision == REVISIONS[-1]


@given(sightings)
def test_what_is_believed_is_what_was_applied_last(seen: list[tuple[str, int]]) -> None:
    merge: Merge[Service] = Merge()
    revisions = applied(merge, seen)

    assert merge.revision == (revisions[-1] if revisions else 0)
    assert merge.known == bool(seen)


def test_that_nothing_is_there_is_told_once() -> None:
    merge: Merge[Service] = Merge()

    assert merge.got_nothing() == Change(None, 0)
    assert merge.got_nothing() is None


def test_a_living_document_does_not_vanish_because_a_replica_lacks_it() -> None:
    merge: Merge[Service] = Merge()
    merge.heard(document(3), 3, 0)

    assert merge.got_nothing() is None
    assert merge.document == document(3)


def test_an_expired_tombstone_is_absence_and_still_holds_back_what_is_older() -> None:
    merge: Merge[Service] = Merge()
    merge.got(document(3), 3)
    merge.heard(document(7, deleted=True), 7, 3)

    assert merge.got_nothing() == Change(None, 0)
    assert merge.got(document(3), 3) is None
    assert merge.heard(document(8), 8, 0) == Change(document(8), 8)


def test_a_missed_revision_is_noticed() -> None:
    merge: Merge[Service] = Merge()
    merge.got(document(3), 3)
    merge.heard(document(8), 8, 7)

    assert merge.gaps == 1


def test_revisions_heard_one_after_the_other_leave_no_gap() -> None:
    merge: Merge[Service] = Merge()
    for before, revision in pairwise((0, *REVISIONS)):
        merge.heard(document(revision), revision, before)

    assert merge.gaps == 0
