"""Changes under load: replicas are replaced, or proxies restarted where they are.

`web` has four replicas, of which two at a time are wanted: those that its slice names.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec

from common.bus import Bus
from common.contract import subjects
from common.contract.discovery import EndpointSlice
from common.contract.events import Lifecycle
from common.names import ServiceName
from demo import manifests
from tests.support.load import Target
from tests.support.mesh import RunningMesh, running_mesh
from tests.support.nats import until

HTTP_PORT, TCP_PORT = 8000, 7000
APPLICATION = f"""
namespace: shop
workloads:
  - {{name: client, command: [sleep, "100000"]}}
  - name: web
    command: ["{{python}}", "-P", "-m", "tests.support.steadfast", "{{address}}", "{HTTP_PORT}", "{TCP_PORT}"]
    ports: [{HTTP_PORT}, {{port: {TCP_PORT}, protocol: tulle.dev/opaque}}]
    replicas: 4
"""
GRACE_SECONDS = 20


class Rollout:
    """Changes a mesh, and hears what destination publishes of it."""

    def __init__(self, mesh: RunningMesh) -> None:
        self.mesh = mesh
        self.ready: set[str] = set()
        """The endpoints that clients are told to use."""
        self.withdrawn: list[float] = []
        """Seconds from hearing `draining` to hearing that the endpoint is withdrawn."""
        self._draining: dict[str, float] = {}

    async def start(self, bus: Bus) -> None:
        """Hear from now on."""
        web = ServiceName("shop", "web")
        bus.follow(subjects.endpoints(web, "web-1"), self._told)
        await bus.listen(subjects.lifecycle_any(), self._heard)

    def _heard(self, _subject: str, message: Lifecycle) -> None:
        if message.phase == "draining" and message.workload in self.ready:
            self._draining.setdefault(message.workload, asyncio.get_running_loop().time())

    def _told(self, slice_: EndpointSlice | None, _revision: int) -> None:
        endpoints = slice_.endpoints if slice_ else ()
        self.ready = {endpoint.workload for endpoint in endpoints if endpoint.ready}
        now = asyncio.get_running_loop().time()
        for name in self._draining.keys() - self.ready:
            self.withdrawn.append(now - self._draining.pop(name))

    async def serve(self, *numbers: int) -> None:
        """Let these replicas be the endpoints of `web`, as an EndpointSlice does; wait until that is told."""
        layout = self.mesh.layout
        services = tuple(
            msgspec.structs.replace(
                service, replicas=tuple(r for r in service.replicas if r.number in numbers)
            )
            if service.name.name == "web"
            else service
            for service in layout.services
        )
        layout = msgspec.structs.replace(layout, services=services)
        manifests.write(layout, self.mesh.paths.manifests)
        await until(lambda: self.ready == {f"web-{number}" for number in numbers}, 20)

    async def end(self, *names: str) -> None:
        """Ask programs to end, at the same time; each must do so in good order."""
        async with anyio.create_task_group() as group:
            for name in names:
                group.start_soon(self._end, name)

    async def _end(self, name: str) -> None:
        status = await self.mesh.stop(name)
        assert status == 0, self.mesh.log(name)[-2000:]

    async def replace(self, old: int, new: int, other: int) -> None:
        """As a Deployment does: one is up and ready before the other is asked to end with its proxy."""
        programs = [f"web-{new}", f"web-{new}-proxy"]
        await self.mesh.start(*(name for name in programs if name not in self.mesh.running))
        await self.serve(old, new, other)
        await self.end(f"web-{old}", f"web-{old}-proxy")
        # Only now: until here it was the proxy's word alone that kept clients away.
        await self.serve(new, other)

    async def restart(self, name: str) -> None:
        """Restart a replica's proxy where it is; it is used again afterwards."""
        was_ready = name in self.ready
        await self.end(f"{name}-proxy")
        await self.mesh.start(f"{name}-proxy")
        await until(lambda: (name in self.ready) is was_ready, 20)

    def target(self, port: int, *, via: str = "client-1") -> Target:
        """A port of the service, by way of a replica's proxy."""
        host, _, number = self.mesh.proxy_url(via).removeprefix("http://").partition(":")
        return Target((host, int(number)), f"web:{port}")

    async def replace_all(self) -> None:
        """One replica after the other gives way to one that is not in use."""
        first, second = sorted(int(name[-1]) for name in self.ready)
        third, fourth = sorted({1, 2, 3, 4} - {first, second})
        await self.replace(first, third, second)
        await self.replace(second, fourth, third)


@asynccontextmanager
async def rollout(directory: Path) -> AsyncIterator[Rollout]:
    """The mesh, with the first two replicas of `web` in use."""
    grace = {"shutdown_grace_seconds": GRACE_SECONDS}
    async with running_mesh(directory, APPLICATION, grace) as mesh, mesh.bus() as bus:
        made = Rollout(mesh)
        await made.start(bus)
        await made.serve(1, 2)
        yield made
