"""Following objects of a real API server: the promises that `tests/common/test_kube_watch.py` states."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import msgspec
import pytest

from common.errors import KubernetesRefused
from common.kube.access import KubeConfig
from common.kube.client import Client
from common.kube.objects import Gone, Kind, Meta, Named, Seen
from common.kube.watch import Event, Watch
from tests.support.cluster import Cluster
from tests.support.nats import until
from tests.support.relay import relay

pytestmark = pytest.mark.anyio


class ConfigMap(msgspec.Struct, frozen=True):
    metadata: Meta
    data: dict[str, str] | None = None


KIND = Kind(name="ConfigMap", plural="configmaps", model=ConfigMap)


class Told:
    """What there is in a namespace, if one believes what was told."""

    def __init__(self, namespace: str) -> None:
        self.values: dict[str, str] = {}
        self.count = 0
        self._namespace = namespace

    def __call__(self, events: list[Event[ConfigMap]]) -> None:
        for event in events:
            match event:
                case Seen(_, found) if found.metadata.namespace == self._namespace:
                    self.values[found.metadata.name] = (found.data or {}).get("v", "")
                    self.count += 1
                case Gone(_, namespace, name) if namespace == self._namespace:
                    del self.values[name]
                    self.count += 1


class Objects:
    """ConfigMaps of a namespace, changed by somebody else."""

    def __init__(self, client: Client, namespace: str) -> None:
        self._client = client
        self._path = f"/api/v1/namespaces/{namespace}/configmaps"

    async def put(self, name: str, value: str) -> None:
        body: dict[str, Any] = {"metadata": {"name": name}, "data": {"v": value}}
        try:
            await self._client.call("POST", self._path, Named, body=body)
        except KubernetesRefused:
            await self._client.call("PUT", f"{self._path}/{name}", Named, body=body)

    async def delete(self, name: str) -> None:
        await self._client.ask("DELETE", f"{self._path}/{name}")


@asynccontextmanager
async def following(client: Client, told: Told, page: int = 3) -> AsyncIterator[Watch[ConfigMap]]:
    watch = Watch(client, KIND, told, page=page)
    async with anyio.create_task_group() as group:
        group.start_soon(watch.run)
        yield watch
        group.cancel_scope.cancel()


async def loaded(watch: Watch[ConfigMap]) -> None:
    with anyio.fail_after(30):
        await watch.state.wait_for(lambda state: state.loaded and not state.trouble)


async def test_pages_then_changes(cluster: Cluster, namespace: str) -> None:
    async with cluster.client() as client:
        objects, told = Objects(client, namespace), Told(namespace)
        for number in range(8):
            await objects.put(f"c{number}", "old")
        async with following(client, told) as watch:
            await loaded(watch)
            assert told.values == {f"c{number}": "old" for number in range(8)}

            await objects.put("c0", "new")
            await objects.put("c8", "new")
            await objects.delete("c1")

            await until(lambda: told.values.get("c8") and "c1" not in told.values)
            assert told.values["c0"] == "new"
            assert told.count == 8 + 3
            assert watch.stats.lists == 1


async def test_a_cut_connection_is_resumed_and_nothing_missed(
    cluster: Cluster, namespace: str
) -> None:
    async with (
        cluster.client() as direct,
        relay(cluster.port) as line,
        cluster.client(port=line.port) as client,
    ):
        objects, told = Objects(direct, namespace), Told(namespace)
        await objects.put("a", "1")
        async with following(client, told) as watch:
            await loaded(watch)
            line.cut()
            await objects.put("a", "2")
            await objects.put("b", "1")
            await until(lambda: watch.state.value.trouble)
            assert told.values == {"a": "1"}
            line.mend()

            await until(lambda: told.values == {"a": "2", "b": "1"})
            assert watch.stats.lists == 1


async def test_a_server_that_restarts_and_has_forgotten_is_listed_again_and_only_news_is_told(
    cluster: Cluster, namespace: str
) -> None:
    async with relay(cluster.port) as line, cluster.client(port=line.port) as client:
        told = Told(namespace)
        async with cluster.client() as direct:
            objects = Objects(direct, namespace)
            for name in ("a", "b", "c"):
                await objects.put(name, "1")
            async with following(client, told) as watch:
                await loaded(watch)
                line.cut()
                await objects.put("b", "2")
                await objects.delete("c")
                cluster.stop_api()
                cluster.start_api()
                await until(cluster.ready, 60)
                told.count = 0
                line.mend()

                await until(lambda: told.values == {"a": "1", "b": "2"}, 60)
                assert watch.stats.lists == 2
                assert told.count == 2
                await loaded(watch)


class Brief(Client):
    """A client whose watches the API ends after a second, by itself."""

    @asynccontextmanager
    async def lines(
        self, path: str, query: Mapping[str, str]
    ) -> AsyncIterator[AsyncIterator[list[bytes]]]:
        """As it is, but for that."""
        async with super().lines(path, {**query, "timeoutSeconds": "1"}) as batches:
            yield batches


async def test_a_watch_whose_time_is_up_is_resumed_and_nothing_listed_again(
    cluster: Cluster, namespace: str
) -> None:
    access = KubeConfig(cluster.kubeconfig)
    async with cluster.client() as direct, Brief(access) as client:
        objects, told = Objects(direct, namespace), Told(namespace)
        await objects.put("a", "1")
        async with following(client, told) as watch:
            await loaded(watch)
            for value in ("2", "3", "4"):
                resumed = watch.stats.watches
                await until(partial(lambda before: watch.stats.watches > before, resumed), 30)
                await objects.put("a", value)
                await until(partial(lambda wanted: told.values == {"a": wanted}, value), 30)

            assert not watch.state.value.trouble
            assert (watch.stats.lists, told.count) == (1, 4)


async def test_a_revision_from_long_ago_is_gone(cluster: Cluster) -> None:
    query = {"watch": "1", "resourceVersion": "1"}
    async with cluster.client() as client, client.lines(KIND.path, query) as batches:
        said = msgspec.json.decode((await anext(batches))[0])

    assert (said["type"], said["object"]["code"]) == ("ERROR", 410)


async def test_who_may_not_list_is_told_why(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("create", "serviceaccount", "nobody", "-n", namespace)
    token = cluster.kubectl("create", "token", "nobody", "-n", namespace).strip()
    async with cluster.client(token) as client, following(client, Told(namespace)) as watch:
        await until(lambda: "cannot list resource" in watch.state.value.trouble)
        assert not watch.state.value.loaded
