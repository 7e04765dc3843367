"""Services on the bus: typed answers, errors with reasons, bounded concurrency, a stop in good order."""

from collections.abc import Mapping

import anyio
import msgspec
import pytest

from common.bus import Bus, Endpoint
from common.contract.topic import Question
from common.errors import BusUnavailable, InvalidMessage, InvalidName, MeshError, Refused
from common.nats_server import NatsServer
from tests.support.nats import connected, until

pytestmark = pytest.mark.anyio


class Ask(msgspec.Struct):
    n: int


class Told(msgspec.Struct):
    doubled: int


DOUBLE: Question[Ask, Told] = Question("tulle.v1.test.double", Ask, Told)


async def double(subject: str, ask: Ask) -> Told:
    return Told(doubled=ask.n * 2)


async def serve(bus: Bus, handler: object = double, concurrency: int = 64) -> None:
    endpoint = Endpoint(DOUBLE, handler)  # type: ignore[arg-type]
    await bus.serve("test", "1.0.0", [endpoint], queue="test", concurrency=concurrency)


async def test_a_question_is_answered() -> None:
    async with NatsServer() as server, connected(server) as bus, connected(server) as asker:
        await serve(bus)

        assert await asker.request(DOUBLE, Ask(21)) == Told(42)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Refused("not for you"), "refused: not for you"),
        (InvalidName("namespace 'A'"), "invalid-name: namespace 'A'"),
        (MeshError("two\r\nlines"), "mesh-error: two  lines"),
        (ZeroDivisionError("details that are nobody's business"), "^internal error$"),
    ],
)
async def test_what_a_handler_raises_goes_back_to_the_asker(error: Exception, said: str) -> None:
    async def fail(subject: str, ask: Ask) -> Told:
        raise error

    async with NatsServer() as server, connected(server) as bus:
        await serve(bus, fail)

        with pytest.raises(Refused, match=said):
            await bus.request(DOUBLE, Ask(1))


async def test_a_question_that_does_not_decode_is_answered_with_the_path_of_the_field() -> None:
    class Wrong(msgspec.Struct):
        n: str

    async with NatsServer() as server, connected(server) as bus:
        await serve(bus)
        wrong = Question(DOUBLE.subject, Wrong, Told)

        with pytest.raises(Refused, match=r"invalid-message: not a Ask: .*`\$\.n`"):
            await bus.request(wrong, Wrong("x"))
        assert bus.stats.undecodable == 1
        assert await bus.request(DOUBLE, Ask(2)) == Told(4)


async def test_an_answer_that_does_not_decode_is_an_invalid_message() -> None:
    async with NatsServer() as server, connected(server) as bus:
        await serve(bus)
        strange = Question(DOUBLE.subject, Ask, Ask)

        with pytest.raises(InvalidMessage, match=r"double: not a Ask: .*`n`"):
            await bus.request(strange, Ask(1))


async def test_no_more_handlers_run_at_once_than_allowed_and_the_others_wait() -> None:
    running, most = [0], [0]
    gate = anyio.Event()

    async def slow(subject: str, ask: Ask) -> Told:
        running[0] += 1
        most[0] = max(most[0], running[0])
        await gate.wait()
        running[0] -= 1
        return Told(ask.n)

    async with NatsServer() as server, connected(server) as bus, connected(server) as asker:
        await serve(bus, slow, concurrency=3)
        answers: set[int] = set()

        async def ask(n: int) -> None:
            answers.add((await asker.request(DOUBLE, Ask(n), timeout=10)).doubled)

        async with anyio.create_task_group() as group:
            for n in range(10):
                group.start_soon(ask, n)
            await until(lambda: running == [3])
            gate.set()

        assert answers == set(range(10))
        assert most == [3]


async def test_of_two_replicas_each_question_is_answered_by_one() -> None:
    answered: list[int] = []

    async def count(subject: str, ask: Ask) -> Told:
        answered.append(ask.n)
        return Told(ask.n)

    async with NatsServer() as server, connected(server) as one, connected(server) as two:
        await serve(one, count)
        await serve(two, count)
        for n in range(20):
            await one.request(DOUBLE, Ask(n))

        assert answered == list(range(20))


async def test_what_had_arrived_is_answered_before_a_service_stops() -> None:
    gate = anyio.Event()

    async def slow(subject: str, ask: Ask) -> Told:
        await gate.wait()
        return Told(ask.n)

    async with NatsServer() as server, connected(server) as asker:
        answers: list[int] = []

        async def ask(n: int) -> None:
            answers.append((await asker.request(DOUBLE, Ask(n), timeout=10)).doubled)

        async with anyio.create_task_group() as group, connected(server) as bus:
            await serve(bus, slow, concurrency=2)
            for n in range(6):
                group.start_soon(ask, n)
            await until(lambda: has_received(bus, 6))
            gate.set()
        assert sorted(answers) == list(range(6))

        with pytest.raises(BusUnavailable, match="nobody is there"):
            await asker.request(DOUBLE, Ask(1))


def has_received(bus: Bus, messages: int) -> bool:
    return bus.connection.client().stats["in_msgs"] >= messages


async def test_a_service_is_back_after_the_server_was_restarted() -> None:
    async with NatsServer() as server, connected(server) as bus, connected(server) as asker:
        await serve(bus)
        await server.restart()
        await until(lambda: bus.stats.connections == asker.stats.connections == 2)

        assert await asker.request(DOUBLE, Ask(1)) == Told(2)


async def test_the_services_framework_shows_it() -> None:
    async with NatsServer() as server, connected(server) as bus:
        await serve(bus)
        info = msgspec.json.decode(await bus.ask("$SRV.INFO.test", b""))

        assert (info["name"], info["version"]) == ("test", "1.0.0")
        assert [(e["name"], e["subject"], e["queue_group"]) for e in info["endpoints"]] == [
            ("double", DOUBLE.subject, "test")
        ]


async def test_raw_requests_are_answered_and_a_failing_handler_is_silence() -> None:
    async def echo(payload: bytes, headers: Mapping[str, str]) -> bytes:
        if payload == b"bad":
            raise ZeroDivisionError
        return payload + headers.get("More", "").encode()

    async with NatsServer() as server, connected(server) as bus:
        answerer = await bus.answer("raw.echo", echo)
        reply = await bus.connection.request("raw.echo", b"a", timeout=2, headers={"More": "b"})

        assert reply.data == b"ab"
        with pytest.raises(BusUnavailable, match=r"no answer within 0\.1 s"):
            await bus.ask("raw.echo", b"bad", timeout=0.1)
        assert bus.stats.failed_handlers == 1
        await answerer.stop()
        with pytest.raises(BusUnavailable, match="nobody is there"):
            await bus.ask("raw.echo", b"a")
