"""Who shows which leaf: what workloads acknowledge, remembered for a while, told a page at a time."""

from pathlib import Path

import anyio
import pytest

from common.clock import ManualClock, SystemClock
from common.contract import subjects
from common.contract.events import Ack, ShownLeaf
from common.contract.leaves import LeavesQuestion, LeavesReply
from common.names import WorkloadName
from common.x509 import key_id
from services.identity.leaves import Leaves
from services.identity.roster import SILENT_SECONDS, Roster
from tests.support.identity import nats
from tests.support.nats import until_told
from tests.support.pki import Pki

pytestmark = pytest.mark.anyio

PKI = Pki()
LEAF = ShownLeaf(serial="a1", identity="spiffe://cluster.local/ns/shop/sa/web", not_after=2e9)


def ack(name: str, leaf: ShownLeaf | None = LEAF) -> tuple[str, Ack]:
    """What a workload says, and where."""
    namespace, _, workload = name.partition("/")
    said = Ack(
        namespace=namespace,
        workload=workload,
        uid="",
        revisions={subjects.trust().subject: 7},
        time=0.0,
        leaf=leaf,
    )
    return subjects.ack(WorkloadName(namespace, workload)).subject, said


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def roster(clock: ManualClock) -> Roster:
    return Roster(clock, most=1000)


@pytest.fixture
def leaves(roster: Roster, clock: ManualClock) -> Leaves:
    return Leaves(lambda: PKI.issuer, lambda: PKI.anchor.chain, roster, clock)


async def asked(leaves: Leaves, **question: str | int) -> LeavesReply:
    return await leaves(subjects.leaves().subject, LeavesQuestion(**question))  # type: ignore[arg-type]


async def test_a_row_says_who_shows_what_as_the_subject_has_it(
    leaves: Leaves, roster: Roster, clock: ManualClock
) -> None:
    roster.hear(*ack("shop/web.1"))
    clock.advance(3)
    reply = await asked(leaves)

    (row,) = reply.rows
    assert (row.workload, row.trust_revision, row.leaf) == ("shop/web.1", 7, LEAF)
    assert (reply.time - row.heard, reply.covered) == (3, 3)


async def test_signers_are_the_issuer_and_the_anchors(leaves: Leaves) -> None:
    issuer, anchor = (await asked(leaves)).signers

    assert (issuer.role, anchor.role) == ("issuer", "anchor")
    assert issuer.key == key_id(PKI.issuer.certificate)
    assert issuer.signed_by == anchor.key == anchor.signed_by == key_id(PKI.anchor.certificate)
    assert issuer.not_after == PKI.issuer.certificate.not_valid_after_utc.timestamp()
    assert issuer.fit
    assert "anchor.cluster.local" in anchor.name


async def test_who_is_silent_is_not_there(
    leaves: Leaves, roster: Roster, clock: ManualClock
) -> None:
    roster.hear(*ack("shop/web"))
    clock.advance(SILENT_SECONDS - 1)
    roster.hear(*ack("shop/books", None))
    clock.advance(2)

    assert [(row.workload, row.leaf) for row in (await asked(leaves)).rows] == [
        ("shop/books", None)
    ]


async def test_services_have_no_leaf(leaves: Leaves, roster: Roster) -> None:
    roster.hear(subjects.role_ack("destination").subject, ack("shop/web")[1])

    assert (await asked(leaves)).rows == ()


async def test_many_are_told_a_page_at_a_time_by_name(leaves: Leaves, roster: Roster) -> None:
    for number in range(1200):
        roster.hear(*ack(f"{'shop' if number % 2 else 'store'}/web-{number:04}"))

    found: list[str] = []
    more = True
    while more:
        reply = await asked(leaves, after=found[-1] if found else "", most=300)
        found += [row.workload for row in reply.rows]
        more = reply.more

    # Of 1,200 the first 200 were pushed out by the last ones.
    assert len(found) == 1000
    assert found == sorted(found)
    shop = await asked(leaves, namespace="shop")
    assert len(shop.rows) == 500
    assert not shop.more
    assert {row.workload.partition("/")[0] for row in shop.rows} == {"shop"}


async def test_an_operator_is_told_over_the_bus_and_a_workload_may_not_ask(tmp_path: Path) -> None:
    web = WorkloadName("shop", "web-1")
    async with (
        nats(tmp_path) as mesh,
        mesh.identity(),
        mesh.role("operator") as operator,
        mesh.workload_bus(web, mesh.token(web)) as proxy,
    ):
        with anyio.fail_after(15):
            await proxy.wait_connected()
        said = Ack(
            namespace="shop",
            workload="web-1",
            uid="",
            revisions={},
            time=SystemClock.now(),
            leaf=LEAF,
        )

        async def is_told() -> bool:
            await proxy.publish(subjects.ack(web), said)
            reply = await operator.request(subjects.leaves(), LeavesQuestion())
            return [row.leaf for row in reply.rows] == [LEAF]

        await until_told(is_told)
        errors: list[str] = []
        client = await mesh.client(token=mesh.token(web), errors=errors)
        await client.publish(subjects.leaves().subject, b"{}", reply="_INBOX.shop.web-1.a")

        async def is_refused() -> bool:
            return "permissions violation for publish" in str(errors)

        await until_told(is_refused)
        await client.close()
