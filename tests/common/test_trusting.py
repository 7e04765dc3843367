"""Whom a service trusts to be the bus: its file and the bundle, and saying which bundle is in force."""

import anyio
import pytest

from common.contract import subjects
from common.contract.events import Ack
from common.contract.identity import TrustBundle
from common.errors import InvalidSettings
from common.trusting import Trusting
from tests.support.nats import mesh, until
from tests.support.pki import Pki


def bundle(*anchors: str) -> TrustBundle:
    return TrustBundle(trust_domain="cluster.local", anchors=anchors)


def subjects_of(trusting: Trusting) -> int:
    return len(trusting.context().get_ca_certs())


def test_the_file_alone_counts_until_a_bundle_is_heard() -> None:
    given, other = Pki(), Pki()
    trusting = Trusting(lambda: given.anchors_pem)
    assert subjects_of(trusting) == 1

    trusting.hear(bundle(given.anchors_pem, other.anchors_pem), 4)

    assert (subjects_of(trusting), trusting.revision) == (2, 4)


def test_whom_others_are_told_to_trust_is_the_bundle_once_it_was_heard() -> None:
    given, other = Pki(), Pki()
    trusting = Trusting(lambda: given.anchors_pem)
    assert trusting.anchors() == given.anchors_pem

    trusting.hear(bundle(other.anchors_pem), 4)

    assert trusting.anchors().strip() == other.anchors_pem.strip()


def test_the_file_is_read_afresh_each_time() -> None:
    files = [Pki().anchors_pem]
    trusting = Trusting(lambda: "".join(files))

    files.append(Pki().anchors_pem)

    assert subjects_of(trusting) == 2


def test_a_file_that_is_gone_is_told_unless_a_bundle_was_heard() -> None:
    def gone() -> str:
        raise InvalidSettings("gone")

    trusting = Trusting(gone)
    with pytest.raises(InvalidSettings):
        trusting.context()

    trusting.hear(bundle(Pki().anchors_pem), 1)

    assert subjects_of(trusting) == 1


@pytest.mark.parametrize("anchors", [(), ("nonsense",)])
def test_a_bundle_that_cannot_be_used_never_replaces_a_good_one(anchors: tuple[str, ...]) -> None:
    trusting = Trusting(lambda: "")
    trusting.hear(bundle(Pki().anchors_pem), 1)

    trusting.hear(bundle(*anchors), 2)

    assert (trusting.revision, subjects_of(trusting)) == (1, 1)


@pytest.mark.anyio
async def test_what_is_in_force_is_said_on_change() -> None:
    heard: list[int] = []

    def hear(_subject: str, ack: Ack) -> None:
        heard.append(ack.revisions[subjects.trust().subject])

    async with mesh() as (_, bus), anyio.create_task_group() as group:
        await bus.listen(subjects.role_ack("destination"), hear)
        trusting = Trusting(lambda: "")
        group.start_soon(trusting.run, bus, "destination", "here:1")
        first = await bus.put(subjects.trust(), bundle(Pki().anchors_pem), expected=0)
        await until(lambda: heard == [first])

        second = await bus.put(subjects.trust(), bundle(Pki().anchors_pem), expected=first)
        await until(lambda: heard == [first, second])
        group.cancel_scope.cancel()
