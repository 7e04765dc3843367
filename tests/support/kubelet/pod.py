"""One pod's life: an address, volumes, containers in order, its end, and what the API is told of it."""

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from common.errors import KubernetesRefused, KubernetesUnavailable
from common.log import fields
from tests.support.kubelet.boxes import boxed
from tests.support.kubelet.container import Container
from tests.support.kubelet.network import Network
from tests.support.kubelet.objects import NotYetError, Pod
from tests.support.kubelet.status import Status
from tests.support.kubelet.volumes import Volumes

log = logging.getLogger(__name__)
AGAIN = 0.25
"""Seconds until what was not there is looked for again."""
Tell = Callable[[Pod, dict[str, Any]], Awaitable[None]]
"""Writes a pod's status to the API."""
Variables = Callable[[Pod, dict[str, Any], str], dict[str, str]]
"""The environment of a pod's container, which has this address. Raises NotYetError."""


class PodRun:
    """A pod, from the moment that it is this node's until it is gone."""

    def __init__(
        self,
        pod: Pod,
        folder: Path,
        network: Network,
        volumes: Volumes,
        *,
        variables: Variables,
        tell: Tell,
    ) -> None:
        self.pod = pod
        self.address = ""
        self.init: list[Container] = []
        self.main: list[Container] = []
        self._folder = folder
        self._network = network
        self._volumes = volumes
        self._variables = variables
        self._tell = tell
        self._status = Status()
        self._phase = "Pending"
        self._trouble = "starts"
        self._changed = anyio.Event()
        self._alive = anyio.CancelScope()

    def __repr__(self) -> str:
        meta = self.pod.metadata
        return f"<PodRun {meta.namespace}/{meta.name} {self._phase} {self.address}>"

    def update(self, pod: Pod) -> None:
        """The pod is so now; one that is being deleted begins to end."""
        self.pod = pod
        if pod.metadata.deletion_timestamp:
            self._alive.cancel()

    async def refresh(self) -> None:
        """Bring volumes up to date, once there are any."""
        if self._trouble:
            return
        try:
            await self._volumes.write(self.pod)
        except (NotYetError, KubernetesRefused, KubernetesUnavailable) as error:
            # What was there stays, as in a kubelet.
            log.info("volumes not refreshed", extra=fields(pod=repr(self), why=error))

    async def run(self) -> None:
        """Live, and end."""
        netns, self.address = await anyio.to_thread.run_sync(self._network.add)
        self._folder.mkdir(parents=True)
        self._make_containers(netns)
        async with anyio.create_task_group() as group:
            group.start_soon(self._report)
            await self._live()
            self._changed.set()
            group.cancel_scope.cancel()
        await self._say()
        await anyio.to_thread.run_sync(self._network.remove, netns)

    async def _live(self) -> None:
        async with anyio.create_task_group() as running:
            with self._alive:
                await self._materialise()
                await self._initialise(running)
                self._phase = "Running"
                async with anyio.create_task_group() as mains:
                    for one in self.main:
                        mains.start_soon(one.run, self._again)
                        await _started(one)
            await self._end()
        if any(one.code != 0 for one in self.main):
            self._phase = "Failed"
        else:
            self._phase = "Succeeded"

    async def _materialise(self) -> None:
        while True:
            try:
                await self._volumes.write(self.pod)
            except (NotYetError, KubernetesRefused, KubernetesUnavailable) as error:
                self._trouble = str(error)
                self._note()
                await anyio.sleep(AGAIN)
            else:
                self._trouble = ""
                return

    async def _initialise(self, running: TaskGroup) -> None:
        for one in self.init:
            if one.spec.get("restartPolicy") == "Always":
                running.start_soon(one.run, lambda _code: True)
                await one.up.wait()
            else:
                await one.run(lambda code: code != 0)

    async def _end(self) -> None:
        """End all containers: the pod's own, then the sidecars, the last first."""
        grace = self.pod.metadata.deletion_grace_period_seconds
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as group:
                for one in self.main:
                    group.start_soon(one.stop, grace)
            for one in reversed(self.init):
                await one.stop(grace)

    def _again(self, code: int) -> bool:
        policy = self.pod.spec.get("restartPolicy", "Always")
        return policy == "Always" or (policy == "OnFailure" and code != 0)

    def _make_containers(self, netns: str) -> None:
        for specs, held in (("initContainers", self.init), ("containers", self.main)):
            for spec in self.pod.spec.get(specs) or ():
                held.append(self._container(spec, netns))

    def _container(self, spec: dict[str, Any], netns: str) -> Container:
        folder = self._folder

        async def prepare() -> Any:
            env = self._variables(self.pod, spec, self.address)
            hosts = self._network.hosts_file(self.pod.metadata.namespace)
            return boxed(self.pod, spec, folder, hosts, env, self._volumes.path)

        log_file = folder / f"{spec['name']}.log"
        return Container(spec, netns, self.address, log_file, prepare=prepare, changed=self._note)

    def _note(self) -> None:
        self._changed.set()

    async def _report(self) -> None:
        while True:
            self._changed = anyio.Event()
            await self._say()
            await self._changed.wait()

    async def _say(self) -> None:
        status = self._status.compose(
            self._phase, self.address, self.init, self.main, self._trouble
        )
        await self._tell(self.pod, status)


async def _started(container: Container) -> None:
    """A hook after the start holds up the next container; nothing else does."""
    if "postStart" in container.spec.get("lifecycle", {}):
        await container.up.wait()
