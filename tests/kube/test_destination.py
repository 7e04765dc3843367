"""Destination on a real API server and a real bus: what people apply is what proxies hear."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import pytest

from common.bus import Bus
from common.contract import subjects
from common.contract.discovery import Address, EndpointSlice, Service, Workload
from common.kube.client import Client
from common.names import ServiceName, WorkloadName
from services.destination.answers import answer
from services.destination.app import Destination
from services.destination.keys import AddressKey, Key, ServiceKey, SliceKey, WorkloadKey
from services.destination.sources.kubernetes import Kubernetes
from tests.support.cluster import Cluster
from tests.support.nats import connected, mesh, until
from tests.support.objects import live_pod, live_slice

pytestmark = pytest.mark.anyio
Json = dict[str, Any]


def web(namespace: str, name: str = "web", **spec: Any) -> Json:
    ports = [{"name": "http", "port": 80, "appProtocol": "http", "protocol": "TCP"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"ports": ports, **spec},
    }


def node(zone: str) -> Json:
    labels = {"topology.kubernetes.io/zone": zone}
    meta = {"name": f"node-{zone}", "labels": labels}
    return {"apiVersion": "v1", "kind": "Node", "metadata": meta}


def replica(bus: Bus, client: Client, name: str = "one") -> Destination:
    return Destination(bus, partial(Kubernetes, client), replica=name, lease_seconds=2)


async def within(scope: anyio.CancelScope, running: Destination) -> None:
    with scope:
        await running.run()


@asynccontextmanager
async def running(client: Client) -> AsyncIterator[tuple[Bus, Destination]]:
    async with mesh() as (_, bus), anyio.create_task_group() as group:
        destination = replica(bus, client)
        group.start_soon(destination.run)
        await until(lambda: destination.ready, 30)
        yield bus, destination
        group.cancel_scope.cancel()


async def heard(destination: Destination, key: Key, wanted: Any = bool) -> Any:
    """The answer to a key, once it is as `wanted`."""
    await until(lambda: wanted(answer(destination.index, key)), 20)
    return answer(destination.index, key)


async def test_what_is_applied_is_published_and_what_is_deleted_withdrawn(
    cluster: Cluster, namespace: str
) -> None:
    cluster.apply(
        node("eu-1"),
        web(namespace),
        live_pod(namespace, "web-1", "10.1.0.1", node="node-eu-1", meshed=True),
        live_pod(namespace, "web-2", "10.1.0.2"),
        live_slice(namespace, "web-a", {"web-1": "10.1.0.1"}, nodeName="node-eu-1"),
        live_slice(namespace, "web-b", {"web-2": "10.1.0.2"}),
    )
    name = ServiceName(namespace, "web")
    async with running(cluster.client()) as (bus, destination):
        follower = bus.follow(subjects.endpoints(name, "web-a"), lambda *_: None)
        await until(lambda: follower.document, 20)
        assert isinstance(follower.document, EndpointSlice)
        (endpoint,) = follower.document.endpoints
        assert endpoint.ready
        assert endpoint.identity == f"spiffe://cluster.local/ns/{namespace}/sa/web"
        assert (endpoint.zone, endpoint.proxy_port) == ("eu-1", 4143)
        assert endpoint.ports == {"http": 8080}
        told: Service = await heard(destination, ServiceKey(name))
        assert told.slices == ("web-a", "web-b")
        assert told.ports[0].hint == "http1"
        at: Address = await heard(destination, AddressKey(told.addresses[0]))
        assert at.service == f"web.{namespace}"
        pod = WorkloadName(namespace, "web-1")
        workload: Workload = await heard(destination, WorkloadKey(pod))
        assert workload.zone == "eu-1"

        cluster.kubectl("delete", "pod", "web-2", "-n", namespace, "--now", "--wait=false")
        cluster.kubectl("delete", "endpointslice", "web-a", "-n", namespace)

        await until(lambda: follower.document and follower.document.deleted, 20)
        await heard(destination, ServiceKey(name), lambda told: told.slices == ("web-b",))
        gone = SliceKey(name, "web-b")
        await heard(destination, gone, lambda told: not told.endpoints[0].ready)


async def test_headless_dual_stack_and_other_names(cluster: Cluster, namespace: str) -> None:
    both: Json = {"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6", "IPv4"]}
    named: Json = {"type": "ExternalName", "externalName": "a.example", "ports": []}
    cluster.apply(
        web(namespace, "db", clusterIP="None"),
        web(namespace, "dual", **both),
        web(namespace, **named),
        live_pod(namespace, "db-0", "10.1.1.1"),
        live_slice(namespace, "db-a", {"db-0": "10.1.1.1"}, service="db", hostname="db-0"),
    )
    async with running(cluster.client()) as (_, destination):
        db, dual = ServiceName(namespace, "db"), ServiceName(namespace, "dual")

        told: Service = await heard(destination, ServiceKey(db))
        assert told.addresses == ()
        part: EndpointSlice = await heard(destination, SliceKey(db, "db-a"))
        assert [e.workload for e in part.endpoints] == ["db-0"]
        address: Address = await heard(destination, AddressKey("10.1.1.1"))
        assert address.workload is not None
        assert address.workload.workload == "db-0"
        six, four = (await heard(destination, ServiceKey(dual))).addresses
        assert (":" in six, "." in four) == (True, True)
        assert destination.index.services[dual].family == 6
        assert answer(destination.index, ServiceKey(ServiceName(namespace, "web"))) is None


async def test_list_and_watch_are_all_that_it_needs(cluster: Cluster, namespace: str) -> None:
    role, core = f"{namespace}-destination", ["services", "pods", "namespaces", "nodes"]
    account = f"--serviceaccount={namespace}:destination"
    rule = {"apiGroups": ["tulle.dev"], "resources": ["meshsettings"], "verbs": ["list", "watch"]}
    cluster.kubectl("create", "serviceaccount", "destination", "-n", namespace)
    cluster.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": role},
            "rules": [
                {**rule, "apiGroups": [""], "resources": core},
                {**rule, "apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"]},
                rule,
            ],
        }
    )
    cluster.kubectl("create", "clusterrolebinding", role, f"--clusterrole={role}", account)
    token = cluster.kubectl("create", "token", "destination", "-n", namespace).strip()
    cluster.apply(web(namespace))
    async with running(cluster.client(token)) as (_, destination):
        await heard(destination, ServiceKey(ServiceName(namespace, "web")))
        assert not destination.source.standing.value.silent
        assert not destination.source.standing.value.broken


async def test_a_restart_of_the_api_takes_nothing_away_and_changes_are_heard_again(
    cluster: Cluster, namespace: str
) -> None:
    place = {"web-1": "10.1.2.1"}
    cluster.apply(web(namespace), live_pod(namespace, "web-1", "10.1.2.1"))
    cluster.apply(live_slice(namespace, "web-a", place))
    key = SliceKey(ServiceName(namespace, "web"), "web-a")
    async with running(cluster.client()) as (_, destination):
        before = await heard(destination, key)
        stats = destination.publisher.stats
        await until(lambda: stats.published and not stats.waiting)
        written = stats.written

        cluster.stop_api()
        await until(lambda: destination.source.standing.value.silent, 20)
        assert answer(destination.index, key) == before
        assert destination.ready
        cluster.start_api()
        await until(cluster.ready, 60)
        cluster.apply(live_slice(namespace, "web-a", place, ready=False))

        await heard(destination, key, lambda told: not told.endpoints[0].ready)
        await until(lambda: stats.written > written)
        assert stats.written == written + 1


async def test_who_takes_over_writes_only_what_is_other(cluster: Cluster, namespace: str) -> None:
    place = {"web-1": "10.1.3.1"}
    cluster.apply(web(namespace), live_pod(namespace, "web-1", "10.1.3.1", meshed=True))
    cluster.apply(live_slice(namespace, "web-a", place))
    async with mesh() as (server, bus), connected(server) as other:
        first = replica(bus, cluster.client())
        second = replica(other, cluster.client(), "two")
        leading = anyio.CancelScope()
        async with anyio.create_task_group() as group:
            group.start_soon(within, leading, first)
            await until(lambda: first.publisher.stats.published, 20)
            await until(lambda: not first.publisher.stats.waiting)
            group.start_soon(second.run)
            await until(lambda: second.ready, 20)
            await heard(second, ServiceKey(ServiceName(namespace, "web")))

            leading.cancel()
            cluster.apply(live_slice(namespace, "web-a", place, ready=False))

            await until(lambda: second.publisher.stats.written, 20)
            await until(lambda: not second.publisher.stats.waiting)
            assert second.publisher.stats.written == 1
            group.cancel_scope.cancel()


def live(namespace: str, places: dict[str, str], start: int, ready: bool = True) -> dict[str, Json]:
    """The slice of a hundred of the places, as it is stored."""
    chosen = dict(list(places.items())[start : start + 100])
    name = f"web-{start}"
    found = live_slice(namespace, name, chosen, ready=ready, stored=True)
    return {f"endpointslices/{namespace}/{name}": found}


async def test_ten_thousand_endpoints_outlive_the_api_and_whoever_publishes_them(
    cluster: Cluster, namespace: str
) -> None:
    cluster.apply(web(namespace))
    places = {f"web-{n}": f"10.2.{n // 250}.{n % 250 + 1}" for n in range(10_000)}
    for start in range(0, 10_000, 100):
        cluster.store(live(namespace, places, start))
    cluster.store(
        {
            f"pods/{namespace}/{name}": live_pod(namespace, name, ip, meshed=True, stored=True)
            for name, ip in places.items()
        }
    )
    name = ServiceName(namespace, "web")
    async with mesh() as (server, bus), connected(server) as other:
        first = replica(bus, cluster.client())
        second = replica(other, cluster.client(), "two")
        leading, stats = anyio.CancelScope(), first.publisher.stats
        async with anyio.create_task_group() as group:
            group.start_soon(within, leading, first)
            await until(lambda: stats.published > 20_000 and not stats.waiting, 120)
            told: Service = await heard(first, ServiceKey(name), lambda t: len(t.slices) == 100)
            found = [answer(first.index, SliceKey(name, part)) for part in told.slices]
            ready = [
                e for f in found if isinstance(f, EndpointSlice) for e in f.endpoints if e.ready
            ]
            assert {e.address for e in ready if e.identity} == set(places.values())
            written = stats.written

            # What happens while the API is away, it has forgotten when it is back: all is listed again.
            cluster.stop_api()
            await until(lambda: first.source.standing.value.silent, 60)
            cluster.store(live(namespace, places, 0, ready=False))
            plain = live_pod(namespace, "web-9999", places["web-9999"], stored=True)
            cluster.store({f"pods/{namespace}/web-9999": plain})
            cluster.start_api()
            await until(cluster.ready, 90)
            await until(lambda: not first.source.standing.value.silent, 90)
            # A slice; and a pod's address, its workload and the slice that it is in.
            await until(lambda: stats.written - written >= 4, 60)
            await until(lambda: not stats.waiting)
            assert isinstance(first.source, Kubernetes)
            lists = {watch.kind.name: watch.stats.lists for watch in first.source.watches}
            assert min(lists["Pod"], lists["EndpointSlice"]) >= 2
            assert stats.written - written == 4

            group.start_soon(second.run)
            await until(lambda: second.ready, 60)
            leading.cancel()
            cluster.store(live(namespace, places, 0))
            await until(lambda: second.publisher.stats.written, 60)
            await until(lambda: not second.publisher.stats.waiting)
            assert second.publisher.stats.written == 1
            group.cancel_scope.cancel()
