"""NATS sends an answer wherever the asker wants it: what comes of that if it is wanted where others read."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import msgspec
import pytest
from nats.aio.msg import Msg

from common.bus import Bus
from common.bus.keys import Key
from common.contract import subjects
from common.contract.discovery import Service
from common.errors import BusUnavailable
from common.names import ServiceName, WorkloadName
from services.identity.permissions import CALLOUT
from tests.support import hostile
from tests.support.hostile import Intruder
from tests.support.identity import Mesh
from tests.support.nats import until, until_told

pytestmark = pytest.mark.anyio

BOOKS = WorkloadName("shop", "books")
ONE = subjects.service(ServiceName("shop", "one"))
TWO = subjects.service(ServiceName("shop", "two"))
FORGED = {"Nats-Subject": "put.v1.discovery.service.shop.nothing", "Nats-Last-Sequence": "1"}
"""Headers that look like a stream's."""
NOTHING = subjects.service(ServiceName("shop", "nothing"))

TOKEN = f"$KV.{subjects.TOKENS}.x"
STORED = (
    TWO.written,
    "put.v1.workload.shop.books",
    "put.v1.mesh.settings",
    "put.v1.mesh.trust",
    "put.v1.mesh.rotation",
    "$KV.tulle_leases.identity",
    "$KV.tulle_leases.destination",
    "$KV.tulle_leases.injector",
    TOKEN,
)
HEARD = (
    TWO.subject,
    "tulle.v1.mesh.trust",
    "tulle.v1.mesh.settings",
    "tulle.v1.workload.shop.books",
    "tulle.v1.metrics.shop.books",
    "tulle.v1.ack.shop.books",
    "tulle.v1.ack._.destination",
    "tulle.v1.ack._.telemetry",
    "tulle.v1.lifecycle.shop.books.draining",
    "tulle.v1.learned.shop.books",
    "tulle.v1.tap.shop.books",
    "tulle.v1.tap_events.shop.books",
    "tulle.v1.events.proxy.shop.books.ejected",
    "tulle.v1.events.identity.issued",
    "tulle.v1.events.destination.rejected",
    "tulle.v1.events.injector.injected",
    "tulle.v1.events.telemetry.said",
)
ASKED = (
    "tulle.v1.identity.certify.shop.books.books",
    "tulle.v1.identity.trust.change",
    "tulle.v1.telemetry.stat",
    "$JS.API.STREAM.PURGE.tulle_events",
    "$JS.mesh.API.STREAM.PURGE.tulle_events",
    "$JS.API.STREAM.DELETE.KV_tulle_tokens",
    "$JS.API.STREAM.CREATE.mine",
    "$SRV.PING",
    CALLOUT,
    "$SYS.REQ.SERVER.PING",
    "_INBOX._.identity.x.y",
    "_INBOX.shop.books.x.y",
)
STREAMS = {
    "put.v1.workload.": subjects.WORKLOADS,
    "put.v1.mesh.": subjects.STATE,
    "put.v1.discovery.": subjects.STATE,
    f"$KV.{subjects.LEASES}.": f"KV_{subjects.LEASES}",
    "tulle.v1.events.": subjects.EVENTS,
    "tulle.v1.learned.": subjects.LIFECYCLES,
    "tulle.v1.lifecycle.": subjects.LIFECYCLES,
}
"""Which stream holds what begins so."""
PLACES = STORED + HEARD + ASKED
"""Where answers are wanted. Each of them may write to few of these, or none."""

_BATCH = msgspec.json.encode({"seq": 1, "next_by_subj": "put.v1.>", "batch": 10})
QUESTIONS = {
    # One document, none, several of them.
    f"$JS.API.DIRECT.GET.tulle_state.{ONE.written}": b"",
    f"$JS.API.DIRECT.GET.tulle_state.{NOTHING.written}": b"",
    f"$JS.API.DIRECT.GET.tulle_state.{subjects.trust().written}": b"",
    "$JS.API.DIRECT.GET.tulle_state": _BATCH,
    # That something was stored, or not.
    "put.v1.discovery.service.shop.mine": b"{}",
    "$KV.tulle_leases.destination": b"x",
    "$KV.tulle_leases.injector": b"x",
    # What the API says of a stream, and what a stream holds.
    "$JS.API.INFO": b"",
    "$JS.API.STREAM.INFO.tulle_state": b"",
    "$JS.API.STREAM.MSG.GET.tulle_events": b'{"last_by_subj": "tulle.v1.events.proxy.shop.web-1.x"}',
    # What services say.
    "tulle.v1.identity.certify.shop.web.web-1": b"{}",
    "tulle.v1.identity.trust.status": b"{}",
    "tulle.v1.identity.leaves": b"{}",
    "$SRV.PING": b"",
    "$SRV.INFO.identity": b"",
    # What is kept of what they say themselves.
    "$JS.ACK.tulle.v1.lifecycle.shop.web-1.ready": b"{}",
    "$JS.ACK.tulle.v1.events.proxy.shop.web-1.x": b"{}",
    "tulle.v1.events.destination.x": b"{}",
    "tulle.v1.events.injector.x": b"{}",
    "tulle.v1.events.telemetry.x": b"{}",
}
LISTENERS = {
    "identity": ("tulle.v1.ack.*.*", "tulle.v1.lifecycle.*.*.*", "tulle.v1.mesh.*"),
    "destination": ("tulle.v1.learned.*.*", "tulle.v1.discovery.>", "tulle.v1.workload.*.*"),
    "telemetry": ("tulle.v1.metrics.*.*", "tulle.v1.events.>", "tulle.v1.tap_events.*.*"),
    "operator": (subjects.EVERYTHING, "_INBOX._.operator.>"),
    "reader": (subjects.EVERYTHING,),
    "workload": (
        "tulle.v1.tap.shop.books",
        "tulle.v1.mesh.trust",
        TWO.subject,
        "_INBOX.shop.books.>",
    ),
}
OWN_WORDS = {
    "destination": "tulle.v1.events.destination.over",
    "injector": "tulle.v1.events.injector.over",
    "telemetry": "tulle.v1.events.telemetry.over",
    "operator": "tulle.v1.tap.shop.over",
    "workload": "$JS.ACK.tulle.v1.metrics.shop.web-1",
}


@pytest.fixture(scope="module", params=["one node", "three nodes"])
async def mesh(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Mesh]:
    clustered = request.param == "three nodes"
    work = tmp_path_factory.mktemp("mesh")
    # The lease is not renewed while the tests look whether it is what it was.
    async with hostile.attacked(work, clustered=clustered, lease_seconds=300) as made:
        async with made.role("destination") as destination:
            await until_told(lambda: _settled(destination), 30)
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


@pytest.mark.parametrize(
    "who", ["workload", "destination", "injector", "telemetry", "operator", "reader"]
)
async def test_an_answer_changes_nothing_and_is_heard_by_nobody(mesh: Mesh, who: str) -> None:
    async with AsyncExitStack() as stack:
        heard: list[tuple[str, str]] = []
        for node in range(len(mesh.servers)):
            for listener in sorted(set(LISTENERS) - {who}):
                await _listen(stack, mesh, listener, node, heard)
        # Each node has its own way to the others, and to what streams hold.
        asking = [await _enter(stack, mesh, who, node) for node in range(len(mesh.servers))]
        theirs = [place for place in PLACES if not await asking[0].may_publish(place)]
        questions = [one for one in QUESTIONS if await asking[0].may_publish(one)]
        watching = [await _enter(stack, mesh, one, 0) for one in ("operator", "identity")]
        before = await _holdings(*watching)
        heard.clear()

        for asker in asking:
            for question in questions:
                for place in theirs:
                    await asker.client.publish(question, QUESTIONS[question], reply=place)
            assert [one for one in await asker.refused() if "reply" not in one] == []
        await _until_over(mesh, asking, questions, heard)
        after = await _holdings(*watching)

    assert len(theirs) > 30
    assert len(questions) > 1
    assert [one for one in heard if one[1] in theirs] == []
    assert {place: after[place] for place in after if place in theirs} == {
        place: before[place] for place in before if place in theirs
    }
    assert (before["streams"], before[TOKEN]) == (after["streams"], "404")


async def test_an_answer_lands_where_its_asker_may_write(mesh: Mesh) -> None:
    """So the test before would see one that lands."""
    async with AsyncExitStack() as stack:
        thieves = [await _enter(stack, mesh, "destination", n) for n in range(len(mesh.servers))]
        destination = await stack.enter_async_context(mesh.role("destination"))
        lease = Key(destination, subjects.LEASES, "destination")

        async def landed() -> bool:
            for thief in thieves:
                await _ask(thief, _get(ONE.stream, ONE.written), lease.subject)
            return '"one"' in (await lease.look()).value

        await until_told(landed)


async def test_a_follower_does_not_take_an_answer_about_another_document_for_news(
    mesh: Mesh,
) -> None:
    thief = await hostile.role(mesh, "destination")
    told: list[str] = []
    async with mesh.role("destination") as replica:
        follower = replica.follow(NOTHING, lambda document, _: told.append(str(document)))
        assert await follower.wait_known(10)
        for asked in (ONE, TWO, NOTHING):
            await _ask(thief, _get(asked.stream, asked.written), NOTHING.subject)
        # Each was counted as something that the stream has not said.
        await until(lambda: replica.stats.undecodable == 3)

        assert told == ["None"]
        assert follower.document is None
        follower.close()
    await thief.client.close()


async def test_a_neighbour_does_not_take_an_answer_for_news(mesh: Mesh, web: Intruder) -> None:
    neighbour_s = WorkloadName("shop", "neighbour")
    async with mesh.workload_bus(neighbour_s, mesh.token(neighbour_s)) as neighbour:
        told: list[str] = []
        follower = neighbour.follow(NOTHING, lambda document, _: told.append(str(document)))
        assert await follower.wait_known(10)
        for asked in (ONE, TWO, NOTHING):
            await _ask(web, _get(asked.stream, asked.written), NOTHING.subject)
        await until(lambda: neighbour.stats.undecodable == 3)

        assert told == ["None"]
        follower.close()


async def test_what_a_workload_says_is_acknowledged_nowhere(mesh: Mesh, web: Intruder) -> None:
    acknowledged: list[str] = []

    async def hear(message: Msg) -> None:
        acknowledged.append(message.subject)

    inbox = web.client.new_inbox()
    await web.client.subscribe(inbox, cb=hear)
    said = subjects.lifecycle(hostile.WEB, "ready").subject
    await _ask(web, f"{subjects.SAID}{said}", inbox)
    await _ask(web, f"{subjects.SAID}tulle.v1.events.proxy.shop.web-1.x", inbox)
    async with mesh.role("operator") as operator:
        await until_told(lambda: _stored(operator, said))

    assert await web.refused() == []
    assert acknowledged == []


async def test_what_is_said_is_heard_once_on_every_node(mesh: Mesh) -> None:
    async with AsyncExitStack() as stack:
        heard: list[tuple[str, str]] = []
        everybody = []
        for node in range(len(mesh.servers)):
            for listener in ("operator", "reader"):
                await _listen(stack, mesh, listener, node, heard)
                everybody.append(f"{listener}@{node}")
        for who, own in OWN_WORDS.items():
            said = own.removeprefix(subjects.SAID)
            speaker = await _enter(stack, mesh, who, 0)
            for _ in range(3):
                await speaker.client.publish(own, b"x")
            assert await speaker.refused() == []
            await until(lambda said=said: len(_who(heard, said)) >= 3 * len(everybody))  # type: ignore[misc]

            assert sorted(_who(heard, said)) == sorted(everybody * 3)


def _who(heard: list[tuple[str, str]], subject: str) -> list[str]:
    return [listener for listener, what in heard if what == subject]


async def _enter(stack: AsyncExitStack, mesh: Mesh, who: str, node: int) -> Intruder:
    """Somebody with a connection to one of the nodes, until the end of the test."""
    if who == "workload":
        made = await hostile.workload(mesh, node=node)
    elif who == "reader":
        made = await hostile.person(mesh, f"ada-{node}", "reader", node=node)
    else:
        made = await hostile.role(mesh, who, node=node)  # type: ignore[arg-type]
    stack.push_async_callback(made.client.close)
    return made


async def _listen(
    stack: AsyncExitStack, mesh: Mesh, who: str, node: int, heard: list[tuple[str, str]]
) -> None:
    async def hear(message: Msg) -> None:
        heard.append((f"{who}@{node}", message.subject))

    if who == "workload":
        listener = await hostile.workload(mesh, BOOKS, "books", node=node)
        stack.push_async_callback(listener.client.close)
    else:
        listener = await _enter(stack, mesh, who, node)
    for pattern in LISTENERS[who]:
        await listener.client.subscribe(pattern, cb=hear)
    assert await listener.refused() == []


async def _holdings(operator: Intruder, identity: Intruder) -> dict[str, object]:
    """Which streams there are, and what they hold under each of the places, with its sequence."""
    answer = await operator.client.request("$JS.API.STREAM.NAMES", b"", timeout=10)
    found: dict[str, object] = {"streams": sorted(msgspec.json.decode(answer.data)["streams"])}
    for place in PLACES:
        for begin, stream in STREAMS.items():
            if place.startswith(begin):
                get = f"$JS.API.STREAM.MSG.GET.{stream}"
                asked = msgspec.json.encode({"last_by_subj": place})
                answer = await operator.client.request(get, asked, timeout=10)
                found[place] = msgspec.json.decode(answer.data).get("message")
    get = _get(f"KV_{subjects.TOKENS}", TOKEN)
    answer = await identity.client.request(get, b"", timeout=10)
    found[TOKEN] = (answer.headers or {}).get("Status")
    return found


async def _until_over(
    mesh: Mesh, asking: list[Intruder], questions: list[str], heard: list[tuple[str, str]]
) -> None:
    """Wait until whatever was asked has had its answer, and that has gone where it can go."""
    for asker in asking:
        for question in questions:
            for _ in range(0 if ".events." in question or subjects.SAID in question else 3):
                await asker.client.request(question, QUESTIONS[question], timeout=20)
    async with AsyncExitStack() as stack:
        for node in range(len(mesh.servers)):
            speaker = await _enter(stack, mesh, "telemetry", node)
            over = f"tulle.v1.events.telemetry.over-{node}"
            await speaker.client.publish(over, b"x")
            await until(lambda over=over: len(_who(heard, over)) >= len(mesh.servers))  # type: ignore[misc]


def _get(stream: str, subject: str) -> str:
    return f"$JS.API.DIRECT.GET.{stream}.{subject}"


async def _ask(who: Intruder, subject: str, reply: str) -> None:
    """Say or ask something that is allowed, with the answer wanted elsewhere."""
    await who.client.publish(subject, b"", reply=reply)
    assert await who.refused() == []


async def _settled(bus: Bus) -> bool:
    """The streams are there, and what identity writes at its start."""
    try:
        known = [await bus.get(state) for state in (subjects.trust(), subjects.rotation())]
        return None not in known
    except BusUnavailable:
        return False


async def _stored(operator: Bus, subject: str) -> bool:
    asked = b'{"last_by_subj": "%s"}' % subject.encode()
    answer = await operator.ask("$JS.API.STREAM.MSG.GET.tulle_lifecycles", asked)
    return b'"message"' in answer
