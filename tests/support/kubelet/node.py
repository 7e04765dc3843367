"""The node: follows the API, gives pods a place, and lets those that are its own live."""

import logging
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import msgspec
from anyio.abc import TaskGroup

from common.errors import KubernetesRefused, KubernetesUnavailable
from common.kube.client import MERGE_PATCH, Client
from common.kube.objects import Gone, Seen
from common.kube.watch import Event, Watch
from common.log import fields
from tests.support.kubelet.network import API, NODE, Network
from tests.support.kubelet.objects import (
    MAPS,
    PODS,
    SECRETS,
    SERVICES,
    SLICES,
    Data,
    Pod,
    Service,
    Slice,
    contents,
)
from tests.support.kubelet.pod import PodRun
from tests.support.kubelet.values import environment
from tests.support.kubelet.volumes import Volumes

log = logging.getLogger(__name__)
NAME = "node-1"
ENDED = ("Succeeded", "Failed")


class _Token(msgspec.Struct):
    status: dict[str, str]


class Node:
    """Everything that this node knows and runs; files lie below `folder`."""

    def __init__(self, client: Client, network: Network, folder: Path, port: int) -> None:
        self.client = client
        self.network = network
        self.folder = folder
        self.pods: dict[str, PodRun] = {}
        self._port = port
        self._held: dict[tuple[str, str, str], dict[str, bytes]] = {}
        self._services: dict[tuple[str, str], Service] = {}
        self._slices: dict[tuple[str, str], Slice] = {}
        self._routes = anyio.Event()
        self._contents = anyio.Event()
        self._told: list[Event[Pod]] = []
        self._news = anyio.Event()

    async def run(self) -> None:
        """Be a node for ever."""
        self.network.start()
        await self._register()
        async with anyio.create_task_group() as group:
            for watch in (
                Watch(self.client, SECRETS, self._secrets),
                Watch(self.client, MAPS, self._secrets),
                Watch(self.client, SERVICES, self._hear_services),
                Watch(self.client, SLICES, self._hear_slices),
                Watch(self.client, PODS, self._hear_pods),
            ):
                group.start_soon(watch.run)
            group.start_soon(self._keep_routes)
            group.start_soon(self._keep_contents)
            await self._keep_pods(group)

    def find(self, namespace: str, name: str) -> PodRun | None:
        """The pod of this name."""
        for run in self.pods.values():
            if (run.pod.metadata.namespace, run.pod.metadata.name) == (namespace, name):
                return run
        return None

    # What is heard

    def _secrets(self, events: list[Event[Data]]) -> None:
        for event in events:
            if isinstance(event, Seen):
                meta = event.object.metadata
                self._held[event.kind, meta.namespace, meta.name] = contents(
                    event.kind, event.object
                )
            elif isinstance(event, Gone):
                self._held.pop((event.kind, event.namespace, event.name), None)
        self._contents.set()

    def _hear_services(self, events: list[Event[Service]]) -> None:
        _remember(self._services, events)
        self._routes.set()

    def _hear_slices(self, events: list[Event[Slice]]) -> None:
        _remember(self._slices, events)
        self._routes.set()

    def _hear_pods(self, events: list[Event[Pod]]) -> None:
        self._told += events
        self._news.set()

    # What is done

    async def _keep_routes(self) -> None:
        while True:
            await self._routes.wait()
            self._routes = anyio.Event()
            services, slices = list(self._services.values()), list(self._slices.values())
            await anyio.to_thread.run_sync(self.network.update, services, slices)

    async def _keep_contents(self) -> None:
        while True:
            await self._contents.wait()
            self._contents = anyio.Event()
            for run in list(self.pods.values()):
                await run.refresh()

    async def _keep_pods(self, group: TaskGroup) -> None:
        while True:
            await self._news.wait()
            self._news = anyio.Event()
            told, self._told = self._told, []
            for event in told:
                if isinstance(event, Seen):
                    await self._see(event.object, group)

    async def _see(self, pod: Pod, group: TaskGroup) -> None:
        if run := self.pods.get(pod.metadata.uid):
            run.update(pod)
            await run.refresh()
        elif not pod.spec.get("nodeName") and not pod.metadata.deletion_timestamp:
            target = {"apiVersion": "v1", "kind": "Node", "name": NAME}
            await self._try("POST", pod, "/binding", {"target": target, **_named(pod, "Binding")})
        elif pod.spec.get("nodeName") == NAME and pod.status.get("phase") not in ENDED:
            run = self.pods[pod.metadata.uid] = self._run(pod)
            run.update(pod)
            group.start_soon(self._live, run)

    def _run(self, pod: Pod) -> PodRun:
        folder = self.folder / "pods" / pod.metadata.uid
        place = folder / "volumes"

        async def token(audience: str, seconds: int) -> bytes:
            return await self._request_token(pod, audience, seconds)

        volumes = Volumes(pod, place, self.folder / "claims", self._find, token)
        return PodRun(
            pod, folder, self.network, volumes, variables=self._variables, tell=self._tell
        )

    async def _live(self, run: PodRun) -> None:
        meta = run.pod.metadata
        log.info("begins", extra=fields(pod=repr(run)))
        await run.run()
        log.info("ends", extra=fields(pod=repr(run)))
        if run.pod.metadata.deletion_timestamp:
            now = {"gracePeriodSeconds": 0, "preconditions": {"uid": meta.uid}}
            await self._try("DELETE", run.pod, "", now)
            del self.pods[meta.uid]

    def _find(self, kind: str, namespace: str, name: str) -> dict[str, bytes] | None:
        return self._held.get((kind, namespace, name))

    def _variables(self, pod: Pod, container: dict[str, Any], address: str) -> dict[str, str]:
        api = {"KUBERNETES_SERVICE_HOST": API, "KUBERNETES_SERVICE_PORT": "443"}
        services = self._services.values()
        return api | environment(pod, container, address, self._find, services)

    async def _tell(self, pod: Pod, status: dict[str, Any]) -> None:
        await self._try("PATCH", pod, "/status", {"status": status}, MERGE_PATCH)

    async def _request_token(self, pod: Pod, audience: str, seconds: int) -> bytes:
        meta, account = pod.metadata, pod.spec.get("serviceAccountName", "default")
        bound = {"apiVersion": "v1", "kind": "Pod", "name": meta.name, "uid": meta.uid}
        spec = {"audiences": [audience] if audience else [], "expirationSeconds": seconds}
        path = f"/api/v1/namespaces/{meta.namespace}/serviceaccounts/{account}/token"
        body = {"spec": spec | {"boundObjectRef": bound}}
        answer = await self.client.call("POST", path, _Token, body=body)
        return answer.status["token"].encode()

    async def _try(
        self, method: str, pod: Pod, of: str, body: object, form: str = "application/json"
    ) -> None:
        """Ask something about a pod, which may be gone by now."""
        meta = pod.metadata
        path = f"/api/v1/namespaces/{meta.namespace}/pods/{meta.name}{of}"
        try:
            await self.client.ask(method, path, body=body, content_type=form)
        except (KubernetesRefused, KubernetesUnavailable) as error:
            log.warning("not done", extra=fields(error=error))

    async def _register(self) -> None:
        body = {"metadata": {"name": NAME, "labels": {"kubernetes.io/hostname": NAME}}}
        await self.client.ask("POST", "/api/v1/nodes", body=body)
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
        port = {"kubeletEndpoint": {"Port": self._port}}
        address = [{"type": "InternalIP", "address": NODE}]
        status = {"conditions": [ready], "addresses": address, "daemonEndpoints": port}
        path = f"/api/v1/nodes/{NAME}/status"
        await self.client.ask("PATCH", path, body={"status": status}, content_type=MERGE_PATCH)


def _remember(held: dict[tuple[str, str], Any], events: list[Any]) -> None:
    for event in events:
        if isinstance(event, Seen):
            meta = event.object.metadata
            held[meta.namespace, meta.name] = event.object
        elif isinstance(event, Gone):
            held.pop((event.namespace, event.name), None)


def _named(pod: Pod, kind: str) -> dict[str, Any]:
    meta = {"name": pod.metadata.name, "namespace": pod.metadata.namespace}
    return {"apiVersion": "v1", "kind": kind, "metadata": meta}
