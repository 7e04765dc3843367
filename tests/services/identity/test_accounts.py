"""What passes between the accounts of NATS: as much as everybody's rights, and nothing in two ways."""

from itertools import combinations
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.identity import accounts
from services.identity.accounts import MESH, WORKLOADS, passing, residents
from services.identity.patterns import broadest, common
from services.identity.permissions import MESH_API
from tests.support.identity import Mesh, nats

PATTERNS = st.lists(st.sampled_from("ab*"), min_size=1, max_size=3).flatmap(
    lambda words: st.sampled_from([".".join(words), ".".join([*words, ">"])])
)
SUBJECTS = st.lists(st.sampled_from("abc"), min_size=1, max_size=5).map(".".join)


def fits(subject: str, pattern: str) -> bool:
    """As NATS has it."""
    words, wanted = subject.split("."), pattern.split(".")
    if wanted[-1] == ">":
        if len(words) < len(wanted):
            return False
        words, wanted = words[: len(wanted) - 1], wanted[:-1]
    return len(words) == len(wanted) and all(
        want in ("*", word) for word, want in zip(words, wanted, strict=True)
    )


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("a.b", "a.b", "a.b"),
        ("a.b", "a.c", None),
        ("a.*", "*.b", "a.b"),
        ("a.>", "a.*.c", "a.*.c"),
        ("a.*.>", "a.b.>", "a.b.>"),
        ("a.>", "a", None),
        (">", "a.*", "a.*"),
        ("a.*", "a.*.*", None),
    ],
)
def test_what_two_patterns_have_in_common(one: str, other: str, both: str | None) -> None:
    assert common(one, other) == common(other, one) == both


@given(PATTERNS, PATTERNS, SUBJECTS)
def test_a_subject_fits_both_if_it_fits_what_they_have_in_common(
    one: str, other: str, subject: str
) -> None:
    both = common(one, other)

    assert (both is not None and fits(subject, both)) == (
        fits(subject, one) and fits(subject, other)
    )


def test_the_broadest_of_patterns_stand_for_all() -> None:
    assert broadest(["a.b", "a.*", "c", "a.b", "c", "a.>"]) == ("c", "a.>")


def test_nobody_asks_the_same_account_twice_or_hears_the_same_twice() -> None:
    """Of two imports that overlap NATS would follow both."""
    for guest in residents():
        for kind in ("service", "stream"):
            theirs = [one for one in passing() if (one.guest, one.kind) == (guest, kind)]
            for one, other in combinations(theirs, 2):
                if one.owner == other.owner or kind == "service":
                    framework = one.known_as.startswith("$SRV.") and one.owner != other.owner
                    assert framework or common(one.known_as, other.known_as) is None


def test_a_question_passes_to_one_account_and_is_no_news_there() -> None:
    for one in passing():
        for other in passing():
            if (one.kind, other.kind) == ("service", "stream"):
                assert common(one.subject, other.known_as) is None, (one, other)


def test_whatever_an_account_imports_somebody_in_it_may_ask_or_hear() -> None:
    """So an answer that is wanted there goes no further than its asker's own words."""
    may = residents()
    for one in passing():
        rights = may[one.guest].publish if one.kind == "service" else may[one.guest].subscribe
        shapes = [accounts.of_anybody(right) for right in rights]
        assert any(common(shape, one.known_as) == one.known_as for shape in shapes) or (
            one.guest == MESH and one.kind == "stream"
        ), one


def test_what_is_stored_is_asked_for_in_one_account() -> None:
    asked = [one for one in passing() if one.kind == "service"]

    assert {one.owner for one in asked if one.subject.startswith(("$JS.", "$KV.", "put."))} == {
        MESH
    }
    assert not [one for one in asked if one.guest == MESH]


def test_no_answer_goes_where_workloads_speak() -> None:
    said = [one.subject for one in passing() if one.owner == WORKLOADS]

    assert said
    assert all(subject.startswith("$JS.ACK.tulle.v1.") for subject in said)


def test_people_find_the_mesh_s_jetstream_under_its_usual_name() -> None:
    for people in ("OPERATOR", "READER"):
        theirs = {one.known_as for one in passing() if one.guest == people}
        for usual, known_as in accounts.mappings(people).items():
            assert usual.startswith("$JS.API.")
            assert known_as.startswith(MESH_API)
            assert known_as in theirs
    assert accounts.mappings(WORKLOADS) == {}


@pytest.mark.anyio
async def test_people_find_the_services_of_all_accounts(tmp_path: Path) -> None:
    """As `nats micro ls` does."""
    async with (
        nats(tmp_path) as mesh,
        mesh.identity(),
        mesh.role("telemetry") as telemetry,
        mesh.role("destination") as destination,
    ):
        for name, bus in (("telemetry", telemetry), ("destination", destination)):
            await bus.serve(name, "0.1.0", [], queue=name)
        found = await _services(mesh)

    assert found == {"identity", "telemetry", "destination"}


async def _services(mesh: Mesh) -> set[str]:
    async with mesh.role("operator") as operator:
        answers = await operator.ask_all("$SRV.PING", b"", timeout=5, quiet=1)
    return {msgspec.json.decode(answer)["name"] for answer in answers}
