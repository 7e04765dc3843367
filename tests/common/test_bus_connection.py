"""The connection: made in the background, for ever again, and careful about whom it talks to."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import msgspec
import pytest
from anyio.abc import SocketAttribute, SocketStream
from nats.aio.msg import Msg

from common.bus import Bus, connection
from common.bus.connection import shown
from common.bus.listening import Subscription
from common.bus.streams import ensure
from common.contract import subjects
from common.contract.discovery import Service
from common.contract.events import Event
from common.names import ServiceName
from common.nats_server import NatsServer, free_port
from tests.support.certificates import SelfSigned, self_signed
from tests.support.nats import connected, until
from tests.support.relay import relay

pytestmark = pytest.mark.anyio

ISSUED = subjects.event("identity", "issued")
SECRET = "a-token-that-must-not-be-seen"


def event(message: str) -> Event:
    return Event(component="identity", what="issued", message=message, time=1.0)


def tls_config(folder: Path, held: SelfSigned, token: str = SECRET) -> Path:
    (folder / "cert.pem").write_text(held.certificate)
    (folder / "key.pem").write_text(held.key)
    config = folder / "nats.conf"
    config.write_text(
        f'tls {{ cert_file: "{folder}/cert.pem", key_file: "{folder}/key.pem" }}\n'
        f"authorization {{ token: {token} }}\n"
    )
    return config


def trusting(held: SelfSigned) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=held.certificate)


def connected_times(bus: Bus, times: int) -> bool:
    return bus.stats.connections == times


def told(caplog: pytest.LogCaptureFixture, message: str) -> list[str]:
    return [str(getattr(r, "fields", "")) for r in caplog.records if r.message == message]


async def test_tls_context_and_token_are_asked_for_afresh_on_each_connection(
    tmp_path: Path,
) -> None:
    old, new = self_signed(), self_signed()
    trusted, asked = [old], [0]

    def token() -> str:
        asked[0] += 1
        return SECRET

    config = tls_config(tmp_path, old)
    async with (
        NatsServer(config, scheme="tls") as server,
        Bus([server.url], name="t", tls=lambda: trusting(trusted[0]), token=token) as bus,
    ):
        with anyio.fail_after(10):
            await bus.wait_connected()
        assert asked == [1]

        trusted[0] = new
        tls_config(tmp_path, new)
        await server.restart()
        await until(lambda: bus.stats.connections == 2)
        assert asked == [2]


async def test_a_connection_over_tls_ends_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    held = self_signed()
    config = tls_config(tmp_path, held)
    async with NatsServer(config, scheme="tls") as server:
        tls, token = partial(trusting, held), partial(str, SECRET)
        async with Bus([server.url], name="t", tls=tls, token=token) as bus:
            with anyio.fail_after(10):
                await bus.wait_connected()
        assert caplog.messages == []


async def test_a_server_whose_certificate_is_not_trusted_is_not_told_the_token(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def token() -> str:
        raise AssertionError("the token was asked for")

    config = tls_config(tmp_path, self_signed())
    async with (
        NatsServer(config, scheme="tls") as server,
        Bus([server.url], name="t", tls=lambda: trusting(self_signed()), token=token),
    ):
        await until(lambda: told(caplog, "cannot connect to the bus"))
        assert "CERTIFICATE_VERIFY_FAILED" in told(caplog, "cannot connect to the bus")[0]


@asynccontextmanager
async def impostor(heard: list[bytes], **info: object) -> AsyncIterator[int]:
    """The port of what introduces itself as a server of NATS, and hears what it is told to that."""

    async def introduce(stream: SocketStream) -> None:
        said = {"server_id": "x", "max_payload": 1048576, "headers": True, **info}
        async with stream:
            await stream.send(b"INFO " + msgspec.json.encode(said) + b"\r\n")
            try:
                while True:
                    heard.append(await stream.receive())
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                heard.append(b"(end)")

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, introduce)
        yield listener.extra(SocketAttribute.local_port)
        group.cancel_scope.cancel()


async def test_a_server_that_is_too_old_is_told_nothing(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[bytes] = []

    async with (
        impostor(heard, version="2.11.9") as port,
        Bus([f"nats://127.0.0.1:{port}"], name="t", token=lambda: SECRET),
    ):
        await until(lambda: told(caplog, "cannot connect to the bus"))
        await until(lambda: heard)
    assert heard[0] == b"(end)"
    expected = "nats-server 2.11: too old for Tulle; expected 2.12 or later"
    assert expected in told(caplog, "cannot connect to the bus")[0]


@pytest.mark.parametrize("promise", [False, None, ""])
async def test_a_server_that_does_without_tls_is_told_nothing(
    promise: object, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[bytes] = []

    async with impostor(heard, version="2.12.0", auth_required=True, tls_required=promise) as port:
        bus = Bus(
            [f"tls://127.0.0.1:{port}"],
            name="t",
            tls=lambda: trusting(self_signed()),
            token=lambda: SECRET,
        )
        async with bus:
            await until(lambda: heard)

    assert set(heard) == {b"(end)"}
    assert "secure" in told(caplog, "cannot connect to the bus")[0].lower()


async def test_a_refused_token_is_told_once_without_the_token_and_tried_for_ever(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    tokens = ["wrong-" + SECRET]
    asked: list[str] = []

    def token() -> str:
        asked.append(tokens[0])
        return tokens[0]

    async with (
        NatsServer(f"authorization {{ token: {SECRET} }}") as server,
        Bus([server.url], name="t", token=token) as bus,
    ):
        await until(lambda: len(asked) == 3)
        tokens[0] = SECRET
        with anyio.fail_after(10):
            await bus.wait_connected()

    assert len(told(caplog, "cannot connect to the bus")) == 1
    assert len(told(caplog, "the bus can be reached again")) == 1
    assert not any(SECRET in f"{r.getMessage()} {vars(r)}" for r in caplog.records)


async def test_a_token_that_cannot_be_read_is_tried_again() -> None:
    tries = [0]

    def token() -> str:
        tries[0] += 1
        if tries[0] < 3:
            raise RuntimeError("not yet")
        return SECRET

    async with (
        NatsServer(f"authorization {{ token: {SECRET} }}") as server,
        Bus([server.url], name="t", token=token) as bus,
    ):
        with anyio.fail_after(10):
            await bus.wait_connected()
        assert tries == [3]


async def test_what_is_published_without_a_connection_is_dropped_and_counted() -> None:
    async with NatsServer() as server, connected(server) as bus:
        heard: list[str] = []
        await bus.listen(ISSUED, lambda _, message: heard.append(message.message))
        assert await bus.publish(ISSUED, event("before"))
        await until(lambda: heard)
        await server.stop()
        await until(lambda: not bus.connected.value)

        assert not await bus.publish(ISSUED, event("while away"))
        assert bus.stats.unpublished == 1
        await server.start()
        with anyio.fail_after(10):
            await bus.wait_connected()
        assert await bus.publish(ISSUED, event("after"))
        await until(lambda: len(heard) == 2)
        assert heard == ["before", "after"]


async def test_a_message_too_large_is_dropped_and_counted() -> None:
    async with NatsServer() as server, connected(server) as bus:
        assert not await bus.publish(ISSUED, event("x" * 2_000_000))
        assert bus.stats.unpublished == 1
        assert bus.connected.value


async def test_the_server_may_be_killed_again_and_again_under_followers() -> None:
    web = subjects.service(ServiceName("shop", "web"))
    async with NatsServer() as server, connected(server) as bus, connected(server) as publisher:
        await ensure(publisher)
        revisions: list[int] = []
        follower = bus.follow(web, lambda _, revision: revisions.append(revision))
        last = 0
        for round_ in range(4):
            await server.kill()
            await server.start()
            await until(partial(connected_times, publisher, round_ + 2))
            document = Service(namespace="shop", name="web", slices=(f"{round_}",))
            last = await publisher.put(web, document, expected=last)
        await until(lambda: follower.revision == last)

        assert revisions == sorted(set(revisions))


async def test_the_next_server_is_tried_when_one_is_down() -> None:
    async with NatsServer() as server:
        down = f"nats://127.0.0.1:{free_port()}"
        async with Bus([down, server.url, down], name="t") as bus:
            with anyio.fail_after(10):
                await bus.wait_connected()


async def test_a_subscriber_that_does_not_keep_up_is_counted_and_told() -> None:
    async with NatsServer() as server, connected(server) as bus:
        gate, slow, heard = anyio.Event(), [0], [0]

        async def hear(message: Msg) -> None:
            heard[0] += 1
            await gate.wait()

        def on_slow() -> None:
            slow[0] += 1

        subscription = Subscription(
            bus.connection, ISSUED.subject, hear, on_slow=on_slow, most_waiting=2
        )
        await bus.connection.add(subscription, settle=True)
        for n in range(10):
            await bus.publish(ISSUED, event(f"{n}"))
        await until(lambda: slow[0] >= 7)
        gate.set()
        await until(lambda: heard[0] == 10 - slow[0])

        assert bus.stats.slow == slow[0]


async def test_a_follower_that_may_have_missed_something_asks_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    web = subjects.service(ServiceName("shop", "web"))
    # One user hears nothing of the document, as if every message had been lost on the way.
    config = f"""
        authorization {{ users: [
            {{ user: all, password: a }}
            {{ user: deaf, password: d, permissions: {{
                subscribe: {{ deny: "{web.subject}" }} }} }} ] }}"""
    async with NatsServer(config) as server:
        address = server.url.removeprefix("nats://")
        deaf = f"nats://deaf:d@{address}"
        async with (
            Bus([f"nats://all:a@{address}"], name="all") as publisher,
            Bus([deaf], name="deaf") as bus,
        ):
            await publisher.wait_connected()
            await ensure(publisher)
            follower = bus.follow(web, lambda *_: None)
            assert await follower.wait_known(10)
            [lost_some] = bus.connection.on_slow.values()
            await until(lambda: follower.due - bus.connection.clock.monotonic() > 10)
            written = Service(namespace="shop", name="web")
            revision = await publisher.put(web, written, expected=0)

            lost_some()
            await until(lambda: follower.revision == revision, seconds=2)
            assert any(
                "permissions violation" in said for said in told(caplog, "trouble on the bus")
            )
            assert not any("deaf:d" in str(vars(r)) for r in caplog.records)


async def test_what_was_said_while_only_the_follower_was_away_is_asked_for() -> None:
    web = subjects.service(ServiceName("shop", "web"))
    async with (
        NatsServer() as server,
        connected(server) as publisher,
        relay(server.port) as line,
        Bus([f"nats://127.0.0.1:{line.port}"], name="far") as bus,
    ):
        await ensure(publisher)
        follower = bus.follow(web, lambda *_: None)
        assert await follower.wait_known(10)
        # Nothing but the reconnect will make it ask again soon.
        await until(lambda: follower.due - bus.connection.clock.monotonic() > 10)
        line.cut()
        await until(lambda: not bus.connected.value)
        written = Service(namespace="shop", name="web")
        revision = await publisher.put(web, written, expected=0)
        line.mend()

        await until(lambda: follower.revision == revision)


async def test_publishing_into_a_clogged_connection_is_dropped_and_does_not_wait() -> None:
    async with (
        NatsServer() as server,
        relay(server.port) as line,
        Bus([f"nats://127.0.0.1:{line.port}"], name="far") as bus,
    ):
        with anyio.fail_after(10):
            await bus.wait_connected()
        line.hold()
        large = event("x" * 500_000)
        with anyio.fail_after(10):
            while await bus.publish(ISSUED, large):
                await anyio.lowlevel.checkpoint()

        assert bus.stats.unpublished == 1
        assert bus.stats.published < 100


async def test_a_server_that_is_killed_while_much_is_unsent_is_found_again() -> None:
    async with NatsServer() as server, connected(server) as bus:
        heard: list[str] = []
        await bus.listen(ISSUED, lambda _, message: heard.append(message.message[:5]))

        async def publish() -> None:
            while True:
                await bus.publish(ISSUED, event("large" + "x" * 20_000))
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as group:
            group.start_soon(publish)
            group.start_soon(publish)
            for times in (2, 3, 4):
                await until(lambda: heard)
                await server.kill()
                await server.start()
                await until(partial(connected_times, bus, times))
                heard.clear()
            await until(lambda: heard)
            group.cancel_scope.cancel()


async def test_a_server_that_answers_no_more_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_ALIVE_SECONDS", 0.2)
    async with (
        NatsServer() as server,
        relay(server.port) as line,
        Bus([f"nats://127.0.0.1:{line.port}"], name="far") as bus,
    ):
        with anyio.fail_after(10):
            await bus.wait_connected()
        line.hold()
        await until(lambda: not bus.connected.value)
        line.cut()
        line.mend()
        await until(partial(connected_times, bus, 2))


async def test_sniffing_shows_what_is_said_as_it_is() -> None:
    async with NatsServer() as server, connected(server) as bus:
        seen: list[tuple[str, bytes]] = []

        async def sniff() -> None:
            async for subject, payload, _ in bus.sniff("tulle.v1.>"):
                seen.append((subject, payload))

        async with anyio.create_task_group() as group:
            group.start_soon(sniff)
            with anyio.fail_after(10):
                while not seen:
                    await bus.publish(ISSUED, event("x"))
                    await anyio.sleep(0.01)
            group.cancel_scope.cancel()

        assert seen[0] == (ISSUED.subject, ISSUED.encode(event("x")))


def test_a_server_is_shown_without_its_password() -> None:
    assert shown("nats://user:password@127.0.0.1:4222") == "nats://127.0.0.1:4222"
    assert shown("127.0.0.1:4222") == "127.0.0.1:4222"
