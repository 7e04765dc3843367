"""Retained documents on a real nats-server: compare-and-set, scans, streams."""

import msgspec
import pytest

from common.bus import Bus
from common.bus.replay import replay
from common.bus.streams import CONFIGS, ensure
from common.clock import ManualClock
from common.contract import subjects
from common.contract.discovery import Service
from common.contract.events import Event
from common.contract.topic import State, Topic
from common.errors import BusUnavailable, InvalidMessage, RevisionConflict
from common.names import ServiceName
from common.nats_server import NatsServer
from tests.support.nats import connected, mesh, scan, until

pytestmark = pytest.mark.anyio

ALL = State(subjects.STATE, "tulle.v1.discovery.service.*.*", Service)


def state(name: str) -> State[Service]:
    return subjects.service(ServiceName("shop", name))


def service(name: str) -> Service:
    return Service(namespace="shop", name=name)


async def test_of_two_writers_who_read_the_same_revision_one_is_told_of_the_conflict() -> None:
    async with mesh() as (server, bus), connected(server) as other:
        read = await bus.put(state("web"), service("web"), expected=0)
        await other.put(state("web"), service("other"), expected=read)

        with pytest.raises(RevisionConflict, match=f"put.v1.discovery.service.shop.web.*{read}"):
            await bus.put(state("web"), service("late"), expected=read)
        got = await bus.get(state("web"))
        assert got is not None
        assert got.message == service("other")


async def test_a_refused_put_is_heard_by_nobody() -> None:
    async with mesh() as (_, bus):
        heard: list[Service] = []
        await bus.listen(ALL, lambda _, document: heard.append(document))
        first = await bus.put(state("web"), service("web"), expected=0)
        with pytest.raises(RevisionConflict):
            await bus.put(state("web"), service("refused"), expected=0)
        await bus.put(state("web"), service("last"), expected=first)
        await until(lambda: len(heard) == 2)

        assert heard == [service("web"), service("last")]


async def test_a_scan_reads_every_document_however_many_there_are() -> None:
    async with mesh() as (_, bus):
        written = {}
        for n in range(600):  # more than two pages
            name = state(f"s{n}")
            written[name.subject] = await bus.put(name, service(f"s{n}"), expected=0)
        found = await scan(bus, ALL)

        assert {subject: revision.revision for subject, revision in found.items()} == written
        assert found["tulle.v1.discovery.service.shop.s7"].message == service("s7")


async def test_a_scan_of_nothing_is_empty_and_garbage_is_left_out() -> None:
    async with mesh() as (_, bus):
        assert await scan(bus, ALL) == {}

        await bus.ask("put.v1.discovery.service.shop.bad", b"[]")
        await bus.put(state("web"), service("web"), expected=0)
        assert list(await scan(bus, ALL)) == [state("web").subject]
        assert bus.stats.undecodable == 1


async def test_what_is_written_to_no_stream_is_told_at_once() -> None:
    async with NatsServer() as server, connected(server) as bus:
        with pytest.raises(BusUnavailable, match="nobody is there to answer"):
            await bus.put(state("web"), service("web"), expected=0)
        with pytest.raises(BusUnavailable, match="nobody is there to answer"):
            await bus.get(state("web"))


async def test_without_a_connection_everything_that_asks_says_so() -> None:
    async with Bus(["nats://127.0.0.1:1"], name="alone") as bus:
        for asking in (bus.get(state("web")), scan(bus, ALL), ensure(bus)):
            with pytest.raises(BusUnavailable, match="not connected"):
                await asking


async def test_a_document_too_large_for_the_bus_is_an_invalid_message() -> None:
    async with mesh() as (_, bus):
        huge = Service(namespace="shop", name="web", slices=("x" * 2_000_000,))

        with pytest.raises(InvalidMessage, match="the bus takes 1048576"):
            await bus.put(state("web"), huge, expected=0)


async def test_events_are_retained() -> None:
    async with mesh() as (_, bus):
        event = Event(component="identity", what="issued", message="hello", time=1.0)
        assert await bus.publish(subjects.event("identity", "issued"), event)

        events = Topic("tulle.v1.events.>", Event)
        while not (found := await replay(bus, subjects.EVENTS, events)):
            pass
        assert found == [("tulle.v1.events.identity.issued", event)]


async def test_ensuring_the_streams_again_changes_nothing() -> None:
    async with mesh() as (_, bus):
        before = {name: await configuration(bus, name) for name in CONFIGS}
        revision = await bus.put(state("web"), service("web"), expected=0)
        await ensure(bus)

        assert {name: await configuration(bus, name) for name in CONFIGS} == before
        got = await bus.get(state("web"))
        assert got is not None
        assert got.revision == revision


async def test_a_stream_that_somebody_configured_otherwise_is_put_right() -> None:
    async with mesh() as (_, bus):
        name = subjects.EVENTS
        wrong = {**await configuration(bus, name), "max_bytes": 1000}
        await bus.ask(f"$JS.API.STREAM.UPDATE.{name}", msgspec.json.encode(wrong))
        await ensure(bus)

        assert (await configuration(bus, name))["max_bytes"] == CONFIGS[name]["max_bytes"]


async def test_a_stream_begins_at_the_clock_so_that_its_successor_is_above_it() -> None:
    async with NatsServer() as server, connected(server) as bus:
        await ensure(bus, clock=ManualClock(now=1_700_000_000.0))

        assert await bus.put(state("web"), service("web"), expected=0) == 1_700_000_000_000


async def configuration(bus: Bus, name: str) -> dict[str, object]:
    reply = msgspec.json.decode(await bus.ask(f"$JS.API.STREAM.INFO.{name}", b""))
    return dict(reply["config"])
