"""What somebody who is on the bus by right cannot do with it: too much, too large, or by a side door."""

import base64
import json
from collections.abc import AsyncIterator

import anyio
import msgspec
import pytest
from nats.aio.msg import Msg

from common.bus import Bus
from common.contract import subjects
from common.contract.discovery import Service
from common.names import ServiceName, WorkloadName
from services.identity.callout import MOST_PAYLOAD, MOST_SUBSCRIPTIONS
from tests.support import hostile
from tests.support.hostile import WEB, Intruder
from tests.support.identity import Mesh
from tests.support.nats import until
from tests.support.wire import wire

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    async with hostile.attacked(tmp_path_factory.mktemp("mesh")) as made:
        yield made


@pytest.fixture
async def web(mesh: Mesh) -> AsyncIterator[Intruder]:
    made = await hostile.workload(mesh)
    yield made
    await made.client.close()


async def test_a_message_that_is_too_large_ends_the_connection_that_sent_it(
    mesh: Mesh, web: Intruder
) -> None:
    token = mesh.token(WorkloadName("shop", "large"), "web")
    async with wire(mesh) as one:
        assert await one.connect(auth_token=token) == []
        assert one.info["max_payload"] == MOST_PAYLOAD
        heard = await one.say(f"PUB $JS.ACK.tulle.v1.metrics.shop.large {MOST_PAYLOAD + 1}")

        assert heard == ["-ERR 'Maximum Payload Violation'"]
        assert one.closed
    assert await web.may_publish("$JS.ACK.tulle.v1.metrics.shop.web-1")


async def test_subscriptions_have_an_end(mesh: Mesh, web: Intruder) -> None:
    token = mesh.token(WorkloadName("shop", "curious"), "web")
    async with wire(mesh) as one:
        assert await one.connect(auth_token=token) == []
        many = [f"SUB tulle.v1.mesh.trust {n}" for n in range(MOST_SUBSCRIPTIONS + 10)]
        heard = await one.say(*many)

        assert heard[:1] == ["-ERR 'maximum subscriptions exceeded'"]
    assert await web.may_subscribe("tulle.v1.mesh.trust")


async def test_whoever_does_not_read_what_they_asked_for_is_let_go(
    mesh: Mesh, web: Intruder
) -> None:
    slow = WorkloadName("shop", "slow")
    telemetry = await hostile.role(mesh, "telemetry")
    async with wire(mesh) as one:
        assert await one.connect(auth_token=mesh.token(slow, "web")) == []
        assert await one.say("SUB tulle.v1.tap.shop.slow 1") == []
        one.read_no_more()
        for _ in range(60):
            await telemetry.client.publish("tulle.v1.tap.shop.slow", b"x" * 1_000_000)
            await telemetry.client.flush()
        await until(lambda: "Slow Consumer Detected" in mesh.server.log_file.read_text())
    assert await web.may_publish("$JS.ACK.tulle.v1.metrics.shop.web-1")
    assert await telemetry.may_publish("tulle.v1.events.telemetry.said")
    await telemetry.client.close()


async def test_one_workload_does_not_come_in_again_and_again(mesh: Mesh) -> None:
    token = mesh.token(WorkloadName("shop", "many"), "web")
    answers = []
    for _ in range(70):
        async with wire(mesh) as one:
            answers.append(await one.connect(auth_token=token))

    assert answers[0] == []
    assert answers[-1] == ["-ERR 'Authorization Violation'"]
    assert "shop/many connects too often" in mesh.identity_log()
    other = mesh.token(WorkloadName("shop", "few"), "web")
    async with wire(mesh) as one:
        assert await one.connect(auth_token=other) == []


async def test_whoever_is_asked_writes_to_nobody_s_inbox(mesh: Mesh, web: Intruder) -> None:
    telemetry = await hostile.role(mesh, "telemetry")
    asked: list[str] = []

    async def hear(message: Msg) -> None:
        asked.append(message.reply)

    inbox = telemetry.client.new_inbox()
    await web.client.subscribe("tulle.v1.tap.shop.web-1", cb=hear)
    assert await web.refused() == []
    assert not await web.may_publish(inbox)

    await telemetry.client.publish("tulle.v1.tap.shop.web-1", b"look", reply=inbox)
    await until(lambda: asked == [inbox])
    assert not await web.may_publish(inbox)
    await telemetry.client.close()


async def test_a_document_is_read_one_at_a_time_and_never_another_s(
    mesh: Mesh, web: Intruder
) -> None:
    async with mesh.role("destination") as destination:
        for name in ("one", "two", "three"):
            service = Service(namespace="shop", name=name)
            await destination.put(subjects.service(ServiceName("shop", name)), service, expected=0)
    get = "$JS.API.DIRECT.GET.tulle_state."
    side_doors = [
        {"multi_last": ["put.v1.>"], "batch": 100},
        {"batch": 100, "seq": 1},
        {"batch": 100, "next_by_subj": "put.v1.>"},
        {"last_by_subj": "put.v1.mesh.settings"},
    ]
    for payload in side_doors:
        answers = await _answers(web, f"{get}put.v1.mesh.trust", json.dumps(payload).encode())
        assert [headers.get("Status") for headers, _ in answers] == ["408"], payload
    answers = await _answers(web, f"{get}put.v1.discovery.service.*.*", b"")
    assert len(answers) == 1
    for wider in ("put.v1.>", "put.v1.*.>", "put.v1.discovery.>", "put.v1.workload.shop.*"):
        assert not await web.may_publish(get + wider), wider
    workloads = "$JS.API.DIRECT.GET.tulle_workloads.put.v1.workload.shop."
    for other in ("books", "*", ">", "web-1.x"):
        assert not await web.may_publish(workloads + other), other


async def test_what_is_traced_goes_where_one_may_publish_and_nowhere_else(
    mesh: Mesh, web: Intruder
) -> None:
    operator = await hostile.role(mesh, "operator")
    heard: list[str] = []

    async def hear(message: Msg) -> None:
        heard.append(message.subject)

    await operator.client.subscribe(subjects.EVERYTHING, cb=hear)
    await operator.client.subscribe("_INBOX._.operator.>", cb=hear)
    assert await operator.refused() == []
    own = "tulle.v1.metrics.shop.web-1"
    allowed = "tulle.v1.ack.shop.web-1"
    for target in (
        "tulle.v1.mesh.trust",
        "tulle.v1.ack.shop.books",
        "$JS.ACK.tulle.v1.ack.shop.books",
        "_INBOX._.operator.x.y",
        allowed,
        f"$JS.ACK.{allowed}",
    ):
        given = {"Nats-Trace-Dest": target, "Nats-Trace-Only": "false"}
        await web.client.publish(f"$JS.ACK.{own}", b"{}", headers=given)
    await web.refused()
    await until(lambda: allowed in heard)

    others = {subject for subject in heard if ".events." in subject}
    assert set(heard) - others <= {own, allowed, "tulle.v1.ack._.identity"}
    await operator.client.close()


async def test_whoever_may_write_one_key_cannot_remove_the_others(mesh: Mesh) -> None:
    injector = await hostile.role(mesh, "injector")
    key = "$KV.tulle_leases.injector"
    answers = [
        msgspec.json.decode(
            (await injector.client.request(key, b"x", headers={"Nats-Rollup": how})).data
        )
        for how in ("all", "sub")
    ]

    assert ["error" in answer for answer in answers] == [True, True]
    async with mesh.role("operator") as operator:
        info = await operator.ask("$JS.API.STREAM.INFO.KV_tulle_leases", b"")
        assert msgspec.json.decode(info)["state"]["messages"] >= 1  # identity's
    await injector.client.close()


async def test_streams_have_room_for_the_mesh_and_no_more(mesh: Mesh) -> None:
    async with mesh.role("operator") as operator:
        limits = msgspec.json.decode(await operator.ask("$JS.API.INFO", b""))["limits"]

    assert limits["max_storage"] == 4 * 1024**3
    assert limits["max_memory"] == 64 * 1024**2
    assert (limits["max_streams"], limits["max_consumers"]) == (16, 64)


async def test_what_proxies_say_is_not_rolled_up_by_one_of_them(mesh: Mesh, web: Intruder) -> None:
    subject = subjects.SAID + subjects.lifecycle(WEB, "ready").subject
    before = await _words(mesh)
    for headers in ({"Nats-Rollup": "all"}, {"Nats-Rollup": "sub"}, {"Nats-TTL": "1s"}):
        await web.client.publish(subject, b"{}", headers=headers)
    assert await web.refused() == []

    await web.client.publish(subject, b"{}")
    for _ in range(500):
        if await _words(mesh) > before:
            return
        await anyio.sleep(0.01)
    raise AssertionError(f"{before} words or fewer are left")


async def test_whoever_says_too_much_pushes_out_their_own_words_only(
    mesh: Mesh, web: Intruder
) -> None:
    other = await hostile.workload(mesh, WorkloadName("shop", "quiet"))
    await other.client.publish("$JS.ACK.tulle.v1.lifecycle.shop.quiet.draining", b"{}")
    assert await other.refused() == []
    for _ in range(300):
        await web.client.publish("$JS.ACK.tulle.v1.lifecycle.shop.web-1.ready", b"x" * 4000)
    await web.client.publish("$JS.ACK.tulle.v1.lifecycle.shop.web-1.ready", b"y" * 5000)
    assert await web.refused() == []

    async with mesh.role("operator") as operator:
        assert await _last_word(operator, "quiet.draining") == b"{}"
        assert (await _last_word(operator, "web-1.ready"))[:1] == b"x"
        info = await operator.ask("$JS.API.STREAM.INFO.tulle_lifecycles", b"")
        assert msgspec.json.decode(info)["state"]["messages"] < 100
    await other.client.close()


async def test_nobody_makes_a_consumer_that_speaks_for_others(mesh: Mesh, web: Intruder) -> None:
    """A push consumer would say what a stream holds wherever its maker wants it."""
    wanted = {"stream_name": "tulle_events", "config": {"deliver_subject": "tulle.v1.mesh.trust"}}
    for who in (web, *[await hostile.role(mesh, r) for r in ("telemetry", "operator")]):
        for api in ("CONSUMER.CREATE.tulle_events", "CONSUMER.DURABLE.CREATE.tulle_events.x"):
            assert not await who.may_publish(f"$JS.API.{api}", json.dumps(wanted).encode())
        if who is not web:
            await who.client.close()


async def _last_word(operator: Bus, whose: str) -> bytes:
    wanted = {"last_by_subj": f"tulle.v1.lifecycle.shop.{whose}"}
    get = "$JS.API.STREAM.MSG.GET.tulle_lifecycles"
    answer = msgspec.json.decode(await operator.ask(get, json.dumps(wanted).encode()))
    return base64.b64decode(answer["message"]["data"])


async def _words(mesh: Mesh) -> int:
    async with mesh.role("operator") as operator:
        info = await operator.ask("$JS.API.STREAM.INFO.tulle_lifecycles", b"")
        return int(msgspec.json.decode(info)["state"]["messages"])


async def _answers(
    who: Intruder, subject: str, payload: bytes
) -> list[tuple[dict[str, str], bytes]]:
    """Everything that comes back to one question."""
    found: list[tuple[dict[str, str], bytes]] = []

    async def hear(message: Msg) -> None:
        found.append((dict(message.headers or {}), message.data))

    inbox = who.client.new_inbox()
    subscription = await who.client.subscribe(inbox, cb=hear)
    await who.client.publish(subject, payload, reply=inbox)
    assert await who.refused() == []
    await until(lambda: found)
    assert await who.refused() == []
    await subscription.unsubscribe()
    return found
