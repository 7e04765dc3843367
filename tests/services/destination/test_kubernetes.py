"""A cluster as a source: what its objects mean, and what people are told of those that are wrong."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from common.bus import Bus
from common.kube.client import Client
from common.kube.objects import api_path
from services.destination.app import Destination
from services.destination.kinds import read
from services.destination.resources import Change, Namespace, Node, Put, Ref, Removed, Service
from services.destination.sources.kubernetes import Kubernetes
from services.destination.sources.objects import KINDS
from services.destination.sources.standing import Source
from services.destination.sources.yaml_text import parse
from tests.support.kube_api import KubeApi, PlainAccess, kube_api
from tests.support.nats import connected, mesh, until
from tests.support.objects import POD, SERVICE, SLICE, service

pytestmark = pytest.mark.anyio
PATHS = {kind.name: kind.path for kind in KINDS}
SETTINGS = """
apiVersion: tulle.dev/v1alpha1
kind: MeshSettings
metadata: {name: mesh, namespace: ""}
spec: {opaquePorts: [25], reportSeconds: 5}
"""
NAMESPACE = """
apiVersion: v1
kind: Namespace
metadata: {name: shop, namespace: "", annotations: {config.tulle.dev/opaque-ports: "25,26"}}
"""
NODE = """
apiVersion: v1
kind: Node
metadata: {name: n1.example, namespace: "", labels: {topology.kubernetes.io/zone: eu-1}}
"""


class Heard:
    """What a source says."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.objects: dict[Ref, object] = {}
        self.told: list[tuple[str, str, dict[str, str]]] = []

    def take(self, changes: list[Change]) -> None:
        self.changes += changes
        for change in changes:
            if isinstance(change, Put):
                self.objects[change.resource.ref] = change.resource
            elif isinstance(change, Removed):
                self.objects.pop(change.ref, None)

    def tell(self, what: str, message: str, told: dict[str, str]) -> None:
        self.told.append((what, message, told))


def put(api: KubeApi, text: str) -> dict[str, Any]:
    item: dict[str, Any] = parse(text)[0].value  # type: ignore[assignment]
    api.put(PATHS[item["kind"]], item)
    return item


@asynccontextmanager
async def cluster(*texts: str) -> AsyncIterator[tuple[KubeApi, Kubernetes, Heard]]:
    """A source that has read what is in a cluster."""
    async with kube_api() as (api, access):
        for text in texts:
            put(api, text)
        heard = Heard()
        source = Kubernetes(Client(access), heard.take, heard.tell)
        async with anyio.create_task_group() as group:
            group.start_soon(source.run)
            await source.standing.wait_for(lambda standing: standing.loaded)
            yield api, source, heard
            group.cancel_scope.cancel()


async def test_an_object_means_in_a_cluster_what_it_means_in_a_file() -> None:
    texts = (SERVICE, SLICE, POD, SETTINGS, NAMESPACE, NODE)
    async with cluster(*texts) as (_, source, heard):
        expected = [r for text in texts for _, r in read(parse(text)[0].value).resources]

        assert heard.objects == {resource.ref: resource for resource in expected}
        assert len(expected) == len(texts)
        assert not heard.told
        assert not source.standing.value.broken


async def test_what_is_inherited_and_where_a_node_stands_are_read() -> None:
    async with cluster(NAMESPACE, NODE) as (_, _, heard):
        assert set(heard.objects.values()) == {
            Namespace(name="shop", opaque_ports=frozenset({25, 26})),
            Node(name="n1.example", zone="eu-1"),
        }


async def test_a_mistake_in_an_annotation_is_told_and_the_default_holds_until_it_is_mended() -> (
    None
):
    wrong = SERVICE.replace('"25, 8000-8002,db"', '"none of these"')
    async with cluster(wrong) as (api, _, heard):
        ref = Ref("Service", "shop", "web")
        found = heard.objects[ref]
        assert isinstance(found, Service)
        assert found.opaque_ports == frozenset()
        ((what, message, told),) = heard.told
        assert what == "rejected"
        assert message.startswith("Service shop/web: metadata.annotations[config.tulle.dev/opaque")
        assert told["kept"] == "the default"

        put(api, wrong.replace("8080", "8081"))
        put(api, SERVICE)

        await until(lambda: len(heard.told) > 1)
        assert [what for what, _, _ in heard.told] == ["rejected", "accepted"]


async def test_an_object_that_makes_no_sense_is_taken_for_absent_and_the_rest_is_not_hurt() -> None:
    async with cluster(SERVICE, POD, SLICE) as (api, source, heard):
        put(api, SLICE.replace("service-name: web", "service-name: Not_A_Service"))
        await until(lambda: source.standing.value.broken)

        assert source.standing.value.broken == {"EndpointSlice shop/web-x"}
        assert not source.standing.value.unknown
        assert [what for what, _, told in heard.told] == ["rejected"]
        assert Ref("EndpointSlice", "shop", "web-x") not in heard.objects
        assert len(heard.objects) == 2

        put(api, SLICE)
        await until(lambda: not source.standing.value.broken)
        assert len(heard.objects) == 3


async def test_a_service_that_becomes_another_name_is_gone() -> None:
    async with cluster(SERVICE) as (api, _, heard):
        put(api, SERVICE.replace("spec:", "spec:\n  type: ExternalName\n  externalName: a.example"))

        await until(lambda: not heard.objects)
        assert not heard.told


async def test_session_affinity_is_not_heeded_and_that_is_said_once() -> None:
    sticky = SERVICE.replace("spec:", "spec:\n  sessionAffinity: ClientIP")
    async with cluster(sticky) as (api, _, heard):
        put(api, sticky.replace("port: 80,", "port: 81,"))
        await until(lambda: len(heard.changes) == 2)

        ((what, message, told),) = heard.told
        assert what == "ignored"
        assert "sessionAffinity" in message
        assert told["object"] == "Service shop/web"


async def test_while_the_api_is_away_nothing_is_taken_away() -> None:
    async with cluster(SERVICE, POD, SLICE) as (api, source, heard):
        await until(lambda: len(api.asked(watch="1")) == len(KINDS))
        api.up = False
        api.cut()
        await until(lambda: source.standing.value.silent == set(PATHS))

        assert len(heard.objects) == 3
        assert source.standing.value.loaded
        api.up = True
        await until(lambda: not source.standing.value.silent)


async def test_pods_that_have_ended_are_not_asked_for() -> None:
    async with cluster() as (api, _, _):
        (asked, *_) = [r for r in api.requests if r["path"] == PATHS["Pod"]]

        assert asked["fieldSelector"] == "status.phase!=Succeeded,status.phase!=Failed"


def replica(bus: Bus, access: PlainAccess, name: str) -> Destination:
    def source(take: Any, tell: Any) -> Source:
        return Kubernetes(Client(access), take, tell)

    return Destination(bus, source, replica=name, lease_seconds=2)


async def within(scope: anyio.CancelScope, running: Destination) -> None:
    with scope:
        await running.run()


async def test_who_takes_over_publishes_only_what_is_other() -> None:
    async with kube_api() as (api, access), mesh() as (server, bus), connected(server) as second:
        for text in (POD, SLICE, *(json.dumps(service(n)) for n in range(50))):
            put(api, text)
        first, standby = replica(bus, access, "one"), replica(second, access, "two")
        leading = anyio.CancelScope()
        async with anyio.create_task_group() as group:
            group.start_soon(within, leading, first)
            await until(lambda: first.publisher.stats.published > 100)
            group.start_soon(standby.run)
            await until(lambda: standby.ready)
            assert len(standby.index.services) == 50
            assert standby.publisher.stats.written == 0

            leading.cancel()
            api.put(PATHS["Service"], service(0, port=81))

            await until(lambda: standby.lease.held.value)
            await until(lambda: standby.publisher.stats.written)
            await until(lambda: not standby.publisher.stats.waiting)
            assert standby.publisher.stats.written == 1
            group.cancel_scope.cancel()


def test_where_the_api_has_things() -> None:
    assert api_path("v1") == "/api/v1"
    assert api_path("apps/v1", "shop") == "/apis/apps/v1/namespaces/shop"
    assert PATHS["EndpointSlice"] == "/apis/discovery.k8s.io/v1/endpointslices"
