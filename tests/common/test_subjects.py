"""Subjects that say who speaks: no two names share one, and whoever asks is read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.contract import subjects
from common.errors import InvalidName
from common.names import Identity, WorkloadName

label = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,8}[a-z0-9])?", fullmatch=True)
name = st.lists(label, min_size=1, max_size=3).map(".".join)


@given(label, name, name)
def test_whoever_asks_for_a_certificate_is_read_back_from_the_subject(
    namespace: str, account: str, workload: str
) -> None:
    identity, who = Identity(namespace, account), WorkloadName(namespace, workload)
    subject = subjects.certify(identity, who).subject

    assert subjects.who_certifies(subject, "cluster.local") == (identity, who)
    assert len(subject.split(".")) == len(subjects.certify_any().subject.split("."))


@given(label, name, label, name)
def test_no_two_workloads_share_an_inbox(ns: str, one: str, other_ns: str, two: str) -> None:
    first, second = WorkloadName(ns, one), WorkloadName(other_ns, two)

    assert (subjects.inbox(first) == subjects.inbox(second)) == (first == second)
    assert subjects.inbox(first).count(".") == 2
    assert not subjects.inbox(first).startswith("_INBOX._")


@pytest.mark.parametrize(
    "subject",
    [
        "tulle.v1.identity.certify.shop.web",
        "tulle.v1.identity.certify.shop.web.web.web",
        "tulle.v1.identity.certify.*.web.web",
        "tulle.v1.identity.certify.shop.Web.web",
        "tulle.v1.identity.certify.shop..web",
        "tulle.v1.mesh.trust",
    ],
)
def test_a_subject_that_names_nobody_is_refused(subject: str) -> None:
    with pytest.raises(InvalidName):
        subjects.who_certifies(subject, "cluster.local")
