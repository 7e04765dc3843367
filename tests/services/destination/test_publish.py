"""The publisher on a real bus: only differences, in order, over whatever it finds there."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import msgspec
import pytest

from common.bus import Bus, Revision
from common.clock import ManualClock
from common.contract import subjects
from common.contract.discovery import Address, Service, Settings
from common.contract.topic import Document, State
from common.errors import InvalidMessage
from common.names import ServiceName, WorkloadName
from services.destination import resources as res
from services.destination.index import Index
from services.destination.publish import Publisher
from tests.support.nats import mesh, scan, until

pytestmark = pytest.mark.anyio

D = TypeVar("D", bound=Document)
WEB = ServiceName("shop", "web")
OBJECTS: tuple[res.Resource, ...] = (
    res.Service(namespace="shop", name="web", addresses=("10.96.0.1",), ports=(res.Port(80),)),
    res.EndpointSlice(
        namespace="shop",
        name="web-x",
        service="web",
        family=4,
        ports=(res.Port(8080),),
        endpoints=(res.SliceEndpoint(address="10.0.0.1", pod=WorkloadName("shop", "web-1")),),
    ),
    res.Pod(namespace="shop", name="web-1", addresses=("10.0.0.1",), meshed=True),
)
SUBJECTS = {
    "tulle.v1.discovery.address.10-96-0-1",
    "tulle.v1.discovery.address.10-0-0-1",
    "tulle.v1.discovery.service.shop.web",
    "tulle.v1.discovery.endpoints.shop.web.web-x",
    "tulle.v1.workload.shop.web-1",
    "tulle.v1.mesh.settings",
}


def index_of(*found: res.Resource) -> Index:
    index = Index()
    for resource in found:
        index.apply(res.Put(resource))
    return index


@asynccontextmanager
async def publishing(
    bus: Bus, index: Index, complete: Callable[[], bool] = lambda: True
) -> AsyncIterator[Publisher]:
    publisher = Publisher(bus, index, complete)
    async with anyio.create_task_group() as group:
        group.start_soon(publisher.run)
        yield publisher
        group.cancel_scope.cancel()


def apply(publisher: Publisher, index: Index, *changes: res.Change) -> None:
    for change in changes:
        publisher.refresh(index.apply(change))


async def on_the_bus(bus: Bus) -> dict[str, Document]:
    return {
        subject: revision.message
        for pattern in subjects.discovery_any()
        for subject, revision in (await scan(bus, pattern)).items()
    }


async def until_there(bus: Bus, state: State[D], wanted: D) -> None:
    with anyio.fail_after(10):
        while True:
            with suppress(InvalidMessage):
                found = await bus.get(state)
                if found and found.message == wanted:
                    return
            await anyio.sleep(0.01)


async def test_all_answers_are_published_and_a_second_publisher_finds_nothing_to_do() -> None:
    async with mesh() as (_, bus):
        index = index_of(*OBJECTS)
        async with publishing(bus, index) as first:
            await until(lambda: first.stats.published == len(SUBJECTS))
        found = await on_the_bus(bus)
        assert found.keys() == SUBJECTS

        async with publishing(bus, index_of(*OBJECTS)) as second:
            await until(lambda: second.stats.published == len(SUBJECTS))
            apply(second, index, res.Removed(res.Ref("Pod", "none", "such")))

            assert second.stats.written == 0
        assert await on_the_bus(bus) == found


async def test_one_change_costs_one_document() -> None:
    async with mesh() as (_, bus):
        index = index_of(*OBJECTS)
        async with publishing(bus, index) as publisher:
            await until(lambda: publisher.stats.published == len(SUBJECTS))

            word = res.Heard(workload=WorkloadName("shop", "web-1"), time=1.0, leaving=True)
            apply(publisher, index, word)
            await until(lambda: publisher.stats.written > len(SUBJECTS))

        assert publisher.stats.written == len(SUBJECTS) + 1
        found = await bus.get(subjects.endpoints(WEB, "web-x"))
        assert found is not None
        assert not found.message.endpoints[0].ready


async def test_what_is_named_is_there_before_and_goes_after_what_names_it() -> None:
    async with mesh() as (_, bus):
        index = Index()
        heard: list[tuple[str, bool]] = []
        slices = State(subjects.STATE, "tulle.v1.discovery.>", Document)
        await bus.listen(
            slices, lambda subject, m: heard.append((subject.split(".")[3], m.deleted))
        )
        async with publishing(bus, index) as publisher:
            await until(lambda: publisher.stats.published == 1)

            apply(publisher, index, *(res.Put(r) for r in OBJECTS[:2]))
            await until(lambda: len(heard) == 3)
            apply(publisher, index, *(res.Removed(r.ref) for r in OBJECTS[:2]))
            await until(lambda: len(heard) == 6)

        order = ["endpoints", "service", "address"]
        assert heard == [(k, False) for k in order] + [(k, True) for k in order[::-1]]


async def test_what_is_gone_becomes_a_tombstone_and_may_come_back() -> None:
    async with mesh() as (_, bus):
        index = index_of(*OBJECTS)
        service = subjects.service(WEB)
        async with publishing(bus, index) as publisher:
            await until(lambda: publisher.stats.published == len(SUBJECTS))
            before = await bus.get(service)
            assert before is not None

            apply(publisher, index, res.Removed(OBJECTS[0].ref))
            gone = Service(namespace="shop", name="web", deleted=True)
            await until_there(bus, service, gone)
            apply(publisher, index, res.Put(OBJECTS[0]))
            await until_there(bus, service, before.message)

        assert publisher.stats.conflicts >= 1


async def test_what_nobody_names_any_more_is_taken_away_at_the_start() -> None:
    async with mesh() as (_, bus):
        old = subjects.address("10.0.0.77")
        await bus.put(old, Address(address="10.0.0.77", service="old.shop"), expected=0)
        async with publishing(bus, index_of(*OBJECTS)):
            await until_there(bus, old, Address(address="10.0.0.77", deleted=True))


async def test_what_somebody_else_wrote_meanwhile_is_written_over() -> None:
    async with mesh() as (_, bus):
        index = index_of(*OBJECTS)
        service = subjects.service(WEB)
        async with publishing(bus, index) as publisher:
            await until(lambda: publisher.stats.published == len(SUBJECTS))
            ours = await bus.get(service)
            assert ours is not None
            foreign = Service(namespace="shop", name="web", slices=("foreign",))
            await bus.put(service, foreign, expected=ours.revision)

            apply(publisher, index, res.Put(res.Service(namespace="shop", name="web")))

            await until_there(
                bus, service, Service(namespace="shop", name="web", slices=("web-x",))
            )


async def test_a_document_that_nobody_can_read_is_written_over() -> None:
    async with mesh() as (_, bus):
        state = subjects.settings()
        await bus.ask(state.written, b'{"report_seconds": "often"}')

        async with publishing(bus, Index()):
            await until_there(bus, state, Settings())


async def test_while_the_source_is_not_known_whole_nothing_is_taken_away() -> None:
    async with mesh() as (_, bus):
        async with publishing(bus, index_of(*OBJECTS)) as publisher:
            await until(lambda: publisher.stats.published == len(SUBJECTS))
        before = await on_the_bus(bus)
        complete = False

        # The file with the pod and the slice is broken; the service stands in another.
        index = index_of(OBJECTS[0])
        async with publishing(bus, index, lambda: complete) as publisher:
            await until(lambda: publisher.stats.published == len(SUBJECTS))
            apply(publisher, index, res.Put(res.Service(namespace="shop", name="new")))
            await until_there(
                bus,
                subjects.service(ServiceName("shop", "new")),
                Service(namespace="shop", name="new"),
            )
            assert await on_the_bus(bus) | before == await on_the_bus(bus)

            # The slice is known now, but not the pod that it names.
            apply(publisher, index, res.Put(OBJECTS[1]))
            apply(publisher, index, res.Removed(res.Ref("Service", "shop", "new")))
            assert await on_the_bus(bus) | before == await on_the_bus(bus)

            complete = True
            publisher.refresh_all()
            gone = Address(address="10.0.0.1", deleted=True)
            await until_there(bus, subjects.address("10.0.0.1"), gone)


async def test_what_cannot_be_written_while_the_bus_is_away_is_written_when_it_is_back() -> None:
    async with mesh() as (server, bus):
        index = index_of(*OBJECTS)
        async with publishing(bus, index) as publisher:
            await until(lambda: publisher.stats.published == len(SUBJECTS))

            await server.stop()
            apply(publisher, index, res.Put(res.Service(namespace="shop", name="new")))
            await until(lambda: not bus.connected.value)
            await server.start()

            new = Service(namespace="shop", name="new")
            await bus.wait_connected()
            await until_there(bus, subjects.service(ServiceName("shop", "new")), new)


class Scanned(Bus):
    """A bus on which somebody does something during a scan: `work` once, before its first page is seen."""

    def __init__(self, url: str) -> None:
        super().__init__([url], name="scanned")
        self.work: Callable[[], None] | None = None
        self.seen_after: dict[str, Document] = {}
        """What was published when the second page was asked for."""

    async def scan(self, state_: State[Any]) -> AsyncGenerator[dict[str, Revision[Any]], None]:
        """As it is, but for that."""
        async with aclosing(super().scan(state_)) as pages:
            async for page in pages:
                work, self.work = self.work, None
                if work is not None:
                    work()
                yield page
                if work is not None:
                    self.seen_after = await on_the_bus(self)


async def test_looking_again_at_what_is_published_holds_no_change_up() -> None:
    new = ServiceName("shop", "new")
    async with mesh() as (server, _), Scanned(server.url) as bus:
        index = index_of(*OBJECTS)
        async with publishing(bus, index) as publisher:
            await until(lambda: publisher.stats.published == len(SUBJECTS))
            bus.work = lambda: apply(
                publisher, index, res.Put(res.Service(namespace="shop", name="new"))
            )
            await server.stop()
            await until(lambda: not bus.connected.value)
            await server.start()

            await until(lambda: bus.seen_after)
            assert subjects.service(new).subject in bus.seen_after
            await until(lambda: publisher.stats.published == len(SUBJECTS) + 1)
        assert publisher.stats.written == len(SUBJECTS) + 1


async def test_before_what_is_published_is_known_nothing_is_written() -> None:
    async with mesh() as (server, other), Scanned(server.url) as bus:
        async with publishing(other, index_of(*OBJECTS)) as first:
            await until(lambda: first.stats.published == len(SUBJECTS))
        before = await on_the_bus(other)
        index = Index()
        await bus.wait_connected()
        async with publishing(bus, index) as publisher:
            bus.work = partial(apply, publisher, index, *(res.Put(found) for found in OBJECTS))
            await until(lambda: publisher.stats.published == len(SUBJECTS))

        assert bus.seen_after
        assert (publisher.stats.written, publisher.stats.conflicts) == (0, 0)
        assert await on_the_bus(other) == before


async def test_changes_that_follow_upon_another_are_gathered() -> None:
    async with mesh() as (_, bus):
        index = index_of(*OBJECTS)
        # Time stands still: whatever comes now comes within the moment.
        publisher = Publisher(bus, index, clock=ManualClock())
        async with anyio.create_task_group() as group:
            group.start_soon(publisher.run)
            await until(lambda: publisher.stats.published == len(SUBJECTS))
            written = publisher.stats.written
            for number in range(5):
                port = res.Port(80 + number)
                apply(publisher, index, res.Put(msgspec.structs.replace(OBJECTS[0], ports=(port,))))
                await anyio.lowlevel.checkpoint()
            await until(lambda: publisher.stats.written > written)
            found = await bus.get(subjects.service(WEB))
            group.cancel_scope.cancel()

        assert found is not None
        assert [port.port for port in found.message.ports] == [84]
        assert publisher.stats.written == written + 1


async def test_of_no_lease_nothing_is_remembered() -> None:
    async with mesh() as (_, bus):
        index = index_of(*OBJECTS)
        async with publishing(bus, index) as publisher:
            await until(lambda: publisher.stats.published == len(SUBJECTS))

        apply(publisher, index, res.Removed(OBJECTS[0].ref))

        assert publisher.stats.published == 0
        assert publisher.stats.waiting == 0
