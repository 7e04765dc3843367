"""NATS sends an answer wherever the asker wants it: what comes of that if it is wanted where others read."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.aio.msg import Msg

from common.bus import Bus, Revision
from common.bus.keys import Key
from common.contract import subjects
from common.contract.discovery import Service
from common.contract.identity import TrustBundle
from common.errors import BusUnavailable
from common.names import ServiceName, WorkloadName
from tests.support import hostile
from tests.support.hostile import Intruder
from tests.support.identity import Mesh
from tests.support.nats import until, until_told

pytestmark = pytest.mark.anyio

ONE = subjects.service(ServiceName("shop", "one"))
TWO = subjects.service(ServiceName("shop", "two"))
FORGED = {"Nats-Subject": "put.v1.discovery.service.shop.nothing", "Nats-Last-Sequence": "1"}
"""Headers that look like a stream's."""
NOTHING = subjects.service(ServiceName("shop", "nothing"))

PLACES = (
    TWO.written,
    TWO.subject,
    subjects.trust().written,
    "tulle.v1.events.identity.nothing",
    "tulle.v1.ack.shop.books",
)
"""Where a workload may not say anything."""


@pytest.fixture(scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    async with hostile.attacked(tmp_path_factory.mktemp("mesh")) as made:
        async with made.role("destination") as destination:
            await until_told(lambda: _settled(destination))
            for state, name in ((ONE, "one"), (TWO, "two")):
                document = Service(namespace="shop", name=name)
                await destination.connection.request(
                    state.written, state.encode(document), timeout=5, headers=FORGED
                )
        yield made


@pytest.fixture
async def web(mesh: Mesh) -> AsyncIterator[Intruder]:
    made = await hostile.workload(mesh)
    yield made
    await made.client.close()


async def test_a_follower_does_not_take_an_answer_about_another_document_for_news(
    mesh: Mesh,
) -> None:
    thief = await hostile.role(mesh, "destination")
    told: list[str] = []
    async with mesh.role("operator") as reader:
        follower = reader.follow(NOTHING, lambda document, _: told.append(str(document)))
        assert await follower.wait_known(10)
        for asked in (ONE, TWO, NOTHING):
            await _ask(thief, _get(asked.stream, asked.written), NOTHING.subject)
        # Each was counted as something that the stream has not said.
        await until(lambda: reader.stats.undecodable == 3)

        assert told == ["None"]
        assert follower.document is None
        follower.close()
    await thief.client.close()


async def test_what_a_workload_says_is_acknowledged_nowhere(mesh: Mesh, web: Intruder) -> None:
    async with mesh.role("operator") as operator:
        before = await operator.get(subjects.trust())
        heard = "tulle.v1.lifecycle.shop.web-1.ready"
        for said in (heard, "tulle.v1.events.proxy.shop.web-1.x", "tulle.v1.learned.shop.web-1"):
            await _ask(web, said, subjects.trust().written)
        await until_told(lambda: _stored(operator, heard))

        assert before is not None
        assert await operator.get(subjects.trust()) == before


async def test_an_answer_to_a_workload_lands_nowhere_in_the_mesh(mesh: Mesh, web: Intruder) -> None:
    lease = "$KV.tulle_leases.identity"
    async with mesh.role("operator") as operator:
        heard: list[str] = []

        async def hear(message: Msg) -> None:
            heard.append(message.subject)

        await operator.connection.client().subscribe(subjects.EVERYTHING, cb=hear)
        before = [await operator.get(state) for state in (ONE, TWO, subjects.trust())]
        holder = await Key(operator, subjects.LEASES, "identity").look()
        for asked in (ONE, NOTHING, subjects.trust()):
            for wanted in (*PLACES, lease):
                await _ask(web, _get(asked.stream, asked.written), wanted)
        await _ask(web, "tulle.v1.identity.certify.shop.web.web-1", TWO.written)
        # Whatever these have caused is over when an answer has come back to the asker.
        await web.client.request(_get(ONE.stream, ONE.written), b"", timeout=5)
        held = await Key(operator, subjects.LEASES, "identity").look()

        assert [await operator.get(state) for state in (ONE, TWO, subjects.trust())] == before
        assert held.value == holder.value
        assert not set(heard) & set(PLACES)


async def test_a_neighbour_does_not_take_an_answer_for_news(mesh: Mesh, web: Intruder) -> None:
    books = WorkloadName("shop", "books")
    async with mesh.workload_bus(books, mesh.token(books)) as neighbour:
        told: list[str] = []
        follower = neighbour.follow(NOTHING, lambda document, _: told.append(str(document)))
        assert await follower.wait_known(10)
        for asked in (ONE, TWO, NOTHING):
            await _ask(web, _get(asked.stream, asked.written), NOTHING.subject)
        await until(lambda: neighbour.stats.undecodable == 3)

        assert told == ["None"]
        follower.close()


async def test_a_service_can_have_an_answer_stored_as_another_s_document(tmp_path: Path) -> None:
    """What is not closed yet is known, and told in SECURITY.md."""
    async with hostile.attacked(tmp_path) as mesh, mesh.role("operator") as operator:
        await until_told(lambda: _settled(operator))
        thief = await hostile.role(mesh, "destination")
        forged = subjects.trust().encode(TrustBundle(trust_domain="cluster.local", anchors=("x",)))
        await thief.client.request(ONE.written, forged, timeout=5)
        await _ask(thief, _get(ONE.stream, ONE.written), subjects.trust().written)

        await until_told(lambda: _trusts(operator, ("x",)))
        await thief.client.close()


async def test_a_workload_can_have_an_answer_stored_as_another_s_document(
    mesh: Mesh, web: Intruder
) -> None:
    """As the one before: known, not closed yet, and told in SECURITY.md."""
    async with mesh.role("operator") as operator:
        before = await operator.get(TWO)
        await _ask(web, _get(ONE.stream, ONE.written), TWO.written)

        await until_told(lambda: _is_another(operator, before))


def _get(stream: str, subject: str) -> str:
    return f"$JS.API.DIRECT.GET.{stream}.{subject}"


async def _ask(who: Intruder, subject: str, reply: str) -> None:
    """Say or ask something that is allowed, with the answer wanted elsewhere."""
    await who.client.publish(subject, b"", reply=reply)
    assert await who.refused() == []


async def _settled(bus: Bus) -> bool:
    """The streams are there, and whom the mesh trusts."""
    try:
        return await bus.get(subjects.trust()) is not None
    except BusUnavailable:
        return False


async def _stored(operator: Bus, subject: str) -> bool:
    asked = b'{"last_by_subj": "%s"}' % subject.encode()
    answer = await operator.ask("$JS.API.STREAM.MSG.GET.tulle_lifecycles", asked)
    return b'"message"' in answer


async def _trusts(bus: Bus, anchors: tuple[str, ...]) -> bool:
    found = await bus.get(subjects.trust())
    return found is not None and found.message.anchors == anchors


async def _is_another(bus: Bus, before: Revision[Service] | None) -> bool:
    return await bus.get(TWO) != before
