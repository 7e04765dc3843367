"""Where things are, over a real bus: answers, changes, silence, what is kept and what is forgotten."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from common.bus import Bus
from common.bus.streams import ensure
from common.clock import ManualClock
from common.contract import subjects
from common.contract.discovery import (
    Address,
    Endpoint,
    EndpointSlice,
    Service,
    ServicePort,
    Settings,
    Workload,
)
from common.contract.topic import State
from common.latest import Latest
from common.names import ServiceName, WorkloadName
from common.nats_server import NatsServer
from proxy.control.discovery import (
    ANSWER_SECONDS,
    SILENCE_SECONDS,
    UNUSED_SECONDS,
    Backend,
    Discovery,
    Passthrough,
    Target,
)
from proxy.control.kept import Kept
from proxy.control.policy import Policy
from tests.support.nats import connected, mesh, until

pytestmark = pytest.mark.anyio

BOOKS = ServiceName("shop", "books")
IP = "10.96.0.1"


def endpoint(n: int, port: int = 8080, **changes: object) -> Endpoint:
    values = {"address": f"10.1.0.{n}", "ports": {"http": port}, "workload": f"books-{n}"}
    return Endpoint(**{**values, **changes})  # type: ignore[arg-type]


def service(*slices: str, hint: str = "http1", port: int = 80) -> Service:
    return Service(
        namespace="shop",
        name="books",
        addresses=(IP,),
        ports=(ServicePort(port=port, name="http", hint=hint),),  # type: ignore[arg-type]
        slices=slices,
    )


class Publisher:
    """Writes documents as destination does."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._revisions: dict[str, int] = {}

    async def address(self, ip: str = IP, **document: object) -> None:
        await self._put(subjects.address(ip), Address(address=ip, **document))  # type: ignore[arg-type]

    async def service(self, document: Service) -> None:
        await self._put(subjects.service(BOOKS), document)

    async def slice(self, name: str, *endpoints: Endpoint, deleted: bool = False) -> None:
        document = EndpointSlice(
            namespace="shop", service="books", name=name, endpoints=endpoints, deleted=deleted
        )
        await self._put(subjects.endpoints(BOOKS, name), document)

    async def settings(self, **changes: object) -> None:
        await self._put(subjects.settings(), Settings(**changes))  # type: ignore[arg-type]

    async def _put(self, state: State[Any], document: Any) -> None:
        expected = self._revisions.get(state.subject, 0)
        self._revisions[state.subject] = await self._bus.put(state, document, expected=expected)


class Proxy:
    """The part of a proxy that looks things up."""

    def __init__(self, bus: Bus, folder: Path) -> None:
        self.clock = ManualClock()
        self.kept = Kept(folder)
        self.unanswered = 0
        self.discovery = Discovery(bus, self.kept, self.clock, self._count)

    def _count(self) -> None:
        self.unanswered += 1

    async def ask(self, address: str = IP, port: int = 80) -> Target:
        found = self.discovery.lookup(address, port)
        return await self.discovery.resolve(address, port) if found is None else found

    async def backend(self, address: str = IP, port: int = 80) -> Backend:
        found = await self.ask(address, port)
        assert isinstance(found, Backend)
        return found

    async def ask_name(self, port: int = 80) -> Target:
        found = self.discovery.lookup_name(BOOKS, port)
        return await self.discovery.resolve_name(BOOKS, port) if found is None else found


def workloads(backend: Backend) -> set[str]:
    return {candidate.endpoint.workload for candidate in backend.balancer._eligible}


@asynccontextmanager
async def looking(folder: Path) -> AsyncIterator[tuple[Proxy, Publisher]]:
    """A proxy and a publisher on one bus."""
    async with mesh() as (server, bus), connected(server) as own:
        yield Proxy(own, folder), Publisher(bus)


async def test_an_address_leads_to_its_service_and_its_endpoints(tmp_path: Path) -> None:
    async with looking(tmp_path) as (proxy, publisher):
        await publisher.slice("a", endpoint(1), endpoint(2))
        await publisher.slice("b", endpoint(3), Endpoint(address="10.1.0.9", ports={"admin": 1}))
        await publisher.service(service("a", "b"))
        await publisher.address(service="books.shop")
        backend = await proxy.backend()

        assert (backend.service, backend.port, backend.hint) == ("books.shop", 80, "http1")
        assert workloads(backend) == {"books-1", "books-2", "books-3"}
        picked = backend.balancer.pick()
        assert picked is not None
        assert picked.port == 8080
        # From now on at once.
        assert proxy.discovery.lookup(IP, 80) is backend
        assert await proxy.ask_name() is backend


async def test_what_is_known_of_nobody_is_passed_through_without_asking_twice(
    tmp_path: Path,
) -> None:
    async with looking(tmp_path) as (proxy, _):
        assert isinstance(await proxy.ask("10.0.0.77"), Passthrough)
        assert isinstance(proxy.discovery.lookup("10.0.0.77", 80), Passthrough)
        assert isinstance(await proxy.ask_name(), Passthrough)
        assert proxy.unanswered == 0


async def test_addresses_outside_the_clusters_networks_are_not_looked_up(tmp_path: Path) -> None:
    async with looking(tmp_path) as (proxy, publisher):
        assert isinstance(proxy.discovery.lookup("93.184.216.34", 80), Passthrough)
        assert isinstance(proxy.discovery.lookup("2001:db8::1", 80), Passthrough)
        assert proxy.discovery.lookup("fd00::1", 80) is None

        await publisher.settings(cluster_networks=("93.184.0.0/16",))
        await until(lambda: proxy.discovery.lookup("93.184.216.34", 80) is None)
        assert isinstance(proxy.discovery.lookup("10.3.3.3", 80), Passthrough)


async def test_a_service_that_appears_later_is_found(tmp_path: Path) -> None:
    async with looking(tmp_path) as (proxy, publisher):
        assert isinstance(await proxy.ask(), Passthrough)
        await publisher.address(service="books.shop")
        await publisher.service(service("a"))
        await publisher.slice("a", endpoint(1))
        await until(lambda: isinstance(proxy.discovery.lookup(IP, 80), Backend))
        backend = await proxy.backend()
        await until(lambda: workloads(backend) == {"books-1"})


async def test_endpoints_change_in_place_and_what_was_learned_stays(tmp_path: Path) -> None:
    async with looking(tmp_path) as (proxy, publisher):
        await publisher.slice("a", endpoint(1), endpoint(2))
        await publisher.service(service("a"))
        await publisher.address(service="books.shop")
        backend = await proxy.backend()
        before = {c.endpoint.workload: c for c in backend.balancer._eligible}

        await publisher.slice("a", endpoint(1), endpoint(2, ready=False), endpoint(3))
        await until(lambda: workloads(backend) == {"books-1", "books-3"})
        assert await proxy.backend() is backend
        assert before["books-1"] in backend.balancer._eligible

        await publisher.slice("b", endpoint(4))
        await publisher.service(service("b"))
        await until(lambda: workloads(backend) == {"books-4"})
        # The slice that the service names no longer is not listened to any more.
        await publisher.slice("a", endpoint(5))
        await anyio.sleep(0.05)
        assert workloads(backend) == {"books-4"}


async def test_endpoints_meant_for_another_zone_are_spared_once_the_own_is_known(
    tmp_path: Path,
) -> None:
    async with looking(tmp_path) as (proxy, publisher):
        await publisher.slice(
            "a", endpoint(1, for_zones=("eu-1",)), endpoint(2, for_zones=("eu-2",))
        )
        await publisher.service(service("a"))
        await publisher.address(service="books.shop")
        backend = await proxy.backend()
        assert workloads(backend) == {"books-1", "books-2"}

        proxy.discovery.move_to("eu-2")

        assert workloads(backend) == {"books-2"}


async def test_a_workload_is_told_its_zone(tmp_path: Path) -> None:
    name = WorkloadName("shop", "client-1")
    async with mesh() as (server, bus), connected(server) as own:
        policy = Policy(own, Kept(tmp_path), name, Latest(Settings()))
        assert policy.zone.value == ""
        document = Workload(namespace="shop", name="client-1", zone="eu-1")
        await bus.put(subjects.workload(name), document, expected=0)

        await until(lambda: policy.zone.value == "eu-1")
        policy.watch.close()


async def test_a_port_that_goes_and_comes(tmp_path: Path) -> None:
    async with looking(tmp_path) as (proxy, publisher):
        await publisher.slice("a", endpoint(1))
        await publisher.service(service("a"))
        await publisher.address(service="books.shop")
        backend = await proxy.backend()
        assert isinstance(await proxy.ask(port=81), Passthrough)

        await publisher.service(service("a", port=81, hint="opaque"))
        await until(lambda: isinstance(proxy.discovery.lookup(IP, 81), Backend))
        assert isinstance(proxy.discovery.lookup(IP, 80), Passthrough)
        assert workloads(backend) == set()
        assert (await proxy.backend(port=81)).hint == "opaque"


async def test_tombstones_take_things_away(tmp_path: Path) -> None:
    async with looking(tmp_path) as (proxy, publisher):
        await publisher.slice("a", endpoint(1))
        await publisher.service(service("a"))
        await publisher.address(service="books.shop")
        backend = await proxy.backend()

        await publisher.slice("a", deleted=True)
        await until(lambda: not workloads(backend))
        assert await proxy.backend() is backend
        await publisher.service(Service(namespace="shop", name="books", deleted=True))
        await until(lambda: isinstance(proxy.discovery.lookup(IP, 80), Passthrough))
        subject = subjects.address(IP).subject
        before = proxy.discovery.revisions()[subject]
        await publisher.address(deleted=True)
        await until(lambda: proxy.discovery.revisions()[subject] > before)
        assert isinstance(proxy.discovery.lookup(IP, 80), Passthrough)
        assert proxy.kept.get(subjects.address(IP)) is None


async def test_an_address_may_be_a_workloads_own(tmp_path: Path) -> None:
    pod = Endpoint(address="10.1.0.7", ports={}, workload="books-7", opaque_ports=(9000,))
    async with looking(tmp_path) as (proxy, publisher):
        await publisher.address("10.1.0.7", workload=pod)
        backend = await proxy.backend("10.1.0.7", 1234)
        candidate = backend.balancer.pick()

        assert candidate is not None
        assert (candidate.endpoint.workload, candidate.port) == ("books-7", 1234)
        assert (backend.service, backend.hint) == ("", "detect")
        assert await proxy.backend("10.1.0.7", 1234) is backend
        # Declared by the workload, and by the mesh for everybody.
        assert (await proxy.backend("10.1.0.7", 9000)).hint == "opaque"
        assert (await proxy.backend("10.1.0.7", 3306)).hint == "opaque"


async def test_an_address_that_moves_leads_to_where_it_is_now(tmp_path: Path) -> None:
    async with looking(tmp_path) as (proxy, publisher):
        await publisher.address(workload=endpoint(7))
        assert (await proxy.backend()).service == ""
        await publisher.slice("a", endpoint(1))
        await publisher.service(service("a"))
        await publisher.address(service="books.shop")

        def moved() -> bool:
            found = proxy.discovery.lookup(IP, 80)
            return isinstance(found, Backend) and found.service == "books.shop"

        await until(moved)


async def test_an_address_of_a_service_that_is_none_is_passed_through(tmp_path: Path) -> None:
    async with looking(tmp_path) as (proxy, publisher):
        await publisher.address(service="not a name")

        assert isinstance(await proxy.ask(), Passthrough)


@asynccontextmanager
async def cut_off(folder: Path) -> AsyncIterator[Proxy]:
    """A proxy whose bus is not there."""
    async with Bus(["nats://127.0.0.1:1"], name="proxy") as bus:
        yield Proxy(bus, folder)


async def test_a_lookup_that_is_not_answered_is_passed_through_soon_and_counted(
    tmp_path: Path,
) -> None:
    async with cut_off(tmp_path) as proxy:
        began = anyio.current_time()
        assert isinstance(await proxy.ask(), Passthrough)
        took = anyio.current_time() - began
        assert took > ANSWER_SECONDS * 0.9
        assert proxy.unanswered == 1

        # For a while nobody waits again.
        assert isinstance(proxy.discovery.lookup(IP, 80), Passthrough)
        proxy.clock.advance(SILENCE_SECONDS + 1)
        assert proxy.discovery.lookup(IP, 80) is None


async def test_a_name_that_is_not_answered_is_passed_through_soon_and_counted(
    tmp_path: Path,
) -> None:
    async with cut_off(tmp_path) as proxy:
        assert isinstance(await proxy.ask_name(), Passthrough)
        assert proxy.unanswered == 1
        assert isinstance(proxy.discovery.lookup_name(BOOKS, 80), Passthrough)


async def test_many_who_wait_for_one_answer_all_get_it(tmp_path: Path) -> None:
    async with mesh() as (server, bus), connected(server) as own:
        publisher = Publisher(bus)
        await publisher.slice("a", endpoint(1))
        await publisher.service(service("a"))
        await publisher.address(service="books.shop")
        proxy = Proxy(own, tmp_path)
        found: list[Target] = []

        async def ask() -> None:
            found.append(await proxy.ask())

        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(ask)

        assert len(found) == 50
        assert len({id(target) for target in found}) == 1


async def test_what_was_kept_answers_at_once_when_the_bus_is_down(tmp_path: Path) -> None:
    async with looking(tmp_path) as (proxy, publisher):
        await publisher.settings(cluster_networks=("10.96.0.0/12",), report_seconds=3.0)
        await publisher.slice("a", endpoint(1))
        await publisher.service(service("a"))
        await publisher.address(service="books.shop")
        await proxy.backend()
        await until(lambda: proxy.discovery.settings.value.report_seconds == 3.0)
        revisions = proxy.discovery.revisions()
        assert set(revisions) == {
            "tulle.v1.mesh.settings",
            "tulle.v1.discovery.address.10-96-0-1",
            "tulle.v1.discovery.service.shop.books",
            "tulle.v1.discovery.endpoints.shop.books.a",
        }
        proxy.kept.save()

    async with cut_off(tmp_path) as proxy:
        backend = proxy.discovery.lookup(IP, 80)
        assert isinstance(backend, Backend)
        assert workloads(backend) == {"books-1"}
        assert proxy.discovery.settings.value.report_seconds == 3.0
        assert proxy.discovery.lookup_name(BOOKS, 80) is backend
        assert proxy.discovery.revisions() == revisions


async def test_what_was_kept_is_corrected_when_the_bus_is_back(tmp_path: Path) -> None:
    async with NatsServer() as server, connected(server) as bus:
        await ensure(bus)
        publisher = Publisher(bus)
        await publisher.slice("a", endpoint(1))
        await publisher.service(service("a"))
        await publisher.address(service="books.shop")
        async with connected(server) as own:
            proxy = Proxy(own, tmp_path)
            await proxy.backend()
            proxy.kept.save()
        await publisher.slice("a", endpoint(2))
        async with Bus([server.url], name="proxy") as own:
            proxy = Proxy(own, tmp_path)
            backend = await proxy.backend()
            await until(lambda: workloads(backend) == {"books-2"})
            assert proxy.discovery.lookup(IP, 80) is backend


async def test_what_nobody_asks_for_any_more_is_forgotten_and_not_kept(tmp_path: Path) -> None:
    async with looking(tmp_path) as (proxy, publisher):
        await publisher.slice("a", endpoint(1))
        await publisher.service(service("a"))
        await publisher.address(service="books.shop")
        await proxy.backend()
        proxy.clock.advance(UNUSED_SECONDS - 1)
        proxy.discovery.forget_unused()
        assert proxy.discovery.revisions()

        proxy.clock.advance(2)
        proxy.discovery.forget_unused()
        assert proxy.discovery.revisions() == {}
        assert proxy.kept.get(subjects.service(BOOKS)) is None
        # And is found again by whoever asks again.
        assert workloads(await proxy.backend()) == {"books-1"}


async def test_what_is_asked_for_is_not_forgotten(tmp_path: Path) -> None:
    async with looking(tmp_path) as (proxy, publisher):
        await publisher.slice("a", endpoint(1))
        await publisher.service(service("a"))
        await publisher.address(service="books.shop")
        backend = await proxy.backend()
        for _ in range(5):
            proxy.clock.advance(UNUSED_SECONDS - 1)
            assert proxy.discovery.lookup(IP, 80) is backend
            proxy.discovery.forget_unused()

        assert len(proxy.discovery.revisions()) == 3
