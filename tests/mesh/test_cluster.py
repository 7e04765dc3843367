"""Three NATS nodes, of which one dies, then a second, and both come back: nobody who sends requests notices."""

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import msgspec
import pytest

from common.bus import Bus
from common.contract import subjects
from common.contract.discovery import EndpointSlice
from common.contract.events import Ack
from common.errors import BusUnavailable
from common.names import ServiceName
from demo import manifests
from tests.support import echo
from tests.support.command import tulle
from tests.support.mesh import Load, RunningMesh, running_mesh
from tests.support.nats import until

pytestmark = pytest.mark.anyio

APPLICATION = f"""
namespace: shop
workloads:
  - name: client
    command: [sleep, "1000"]
  - name: echo
    command: ["{{python}}", "-P", "{echo.__file__}", "{{address}}", "{{port}}"]
    ports: [8000]
    replicas: 3
"""
SLICE = subjects.endpoints(ServiceName("shop", "echo"), "echo-1")
CHURN_SECONDS = 0.2
ROUNDS = ((1, 2), (2, 3), (1, 3), (1, 2, 3))


class Watched:
    """What was said of the endpoints, and what the proxies had in force, as it came."""

    def __init__(self, mesh: RunningMesh) -> None:
        self._mesh = mesh
        self.told: list[tuple[int, frozenset[str]]] = []
        """Revision and workloads of each slice that a follower applied."""
        self.wrong: list[str] = []
        self._newest: dict[tuple[str, str], int] = defaultdict(int)
        self.in_force = 0
        """The revision of the slice that the client's proxy acknowledged last."""

    def on_change(self, document: EndpointSlice | None, revision: int) -> None:
        endpoints = document.endpoints if document else ()
        for endpoint in endpoints:
            if self._mesh.replica(endpoint.workload).address != endpoint.address:
                self.wrong.append(f"{endpoint.workload} is not at {endpoint.address}")
        names = frozenset(endpoint.workload for endpoint in endpoints)
        if names not in {_names(numbers) for numbers in (*ROUNDS, (1,))}:
            self.wrong.append(f"{sorted(names)}: was never so")
        if self.told and revision <= self.told[-1][0]:
            self.wrong.append(f"revision {revision} after {self.told[-1][0]}")
        self.told.append((revision, names))

    def on_ack(self, subject: str, ack: Ack) -> None:
        for document, revision in ack.revisions.items():
            before = self._newest[subject, document]
            if revision < before:
                self.wrong.append(f"{subject}: {document} went from {before} back to {revision}")
            self._newest[subject, document] = revision
        if ack.workload == "client-1":
            self.in_force = ack.revisions.get(SLICE.subject, self.in_force)

    async def wait_for_change(self, seconds: float = 40.0) -> None:
        """Wait until a follower has applied something that is written from now on."""
        before = len(self.told)
        await until(lambda: len(self.told) > before + 1, seconds)


@asynccontextmanager
async def churn(mesh: RunningMesh) -> AsyncIterator[None]:
    """Change which replicas are endpoints, again and again."""

    async def change() -> None:
        while True:
            for numbers in ROUNDS:
                serve(mesh, numbers)
                await anyio.sleep(CHURN_SECONDS)

    async with anyio.create_task_group() as group:
        group.start_soon(change)
        yield
        group.cancel_scope.cancel()


def serve(mesh: RunningMesh, numbers: tuple[int, ...]) -> None:
    (service,) = mesh.layout.services
    chosen = tuple(replica for replica in service.replicas if replica.number in numbers)
    service = msgspec.structs.replace(service, replicas=chosen)
    layout = msgspec.structs.replace(mesh.layout, services=(service,))
    manifests.write(layout, mesh.paths.manifests)


async def stream(bus: Bus) -> dict[str, object]:
    answer = await bus.ask(f"$JS.API.STREAM.INFO.{SLICE.stream}", b"", timeout=10)
    found: dict[str, object] = msgspec.json.decode(answer)
    return found


async def test_nodes_die_and_return_and_no_request_fails(tmp_path: Path) -> None:
    async with (
        running_mesh(tmp_path, APPLICATION, nodes=3) as mesh,
        mesh.bus() as bus,
        Load(mesh.proxy_url("client-1"), "http://echo:8000/").running() as requests,
    ):
        watched = Watched(mesh)
        bus.follow(SLICE, watched.on_change)
        await bus.listen(subjects.ack_any(), watched.on_ack)
        info = await stream(bus)
        assert isinstance(info["config"], dict)
        assert info["config"]["num_replicas"] == 3
        assert isinstance(info["cluster"], dict)
        leader = str(info["cluster"]["leader"])
        second = next(name for name in ("nats-1", "nats-2", "nats-3") if name != leader)

        async with churn(mesh):
            await watched.wait_for_change()
            await requests.wait_for(100)
            await mesh.kill(leader)
            await watched.wait_for_change()
            await requests.wait_for(100)
            # Two of three gone: nothing can be written, and everybody goes on with what is known.
            await mesh.kill(second)
            await requests.wait_for(300)
            await mesh.start(leader)
            await watched.wait_for_change()
            await mesh.start(second)
            await watched.wait_for_change()
            await requests.wait_for(100)

        serve(mesh, (1,))
        await until(lambda: watched.told[-1][1] == _names((1,)), 20)
        await until(lambda: watched.in_force >= watched.told[-1][0], 20)
        for number in (2, 3):
            await mesh.kill(f"echo-{number}-proxy")
        await requests.wait_for(100)

        assert watched.wrong == []
        assert requests.failures == []
        assert watched.told[-1][0] > watched.told[0][0] + 10


async def test_a_rotation_reaches_every_node_and_a_node_that_restarts_finds_the_others(
    tmp_path: Path,
) -> None:
    async with (
        running_mesh(tmp_path, APPLICATION, nodes=3) as mesh,
        mesh.bus() as bus,
        Load(mesh.proxy_url("client-1"), "http://echo:8000/").running() as requests,
    ):
        await requests.wait_for(50)
        rotated = await tulle("trust", "rotate", mesh=mesh.paths.mesh, seconds=120)
        assert rotated.returncode == 0, rotated.stderr

        # A route is made anew, by certificates that lead to the new anchor.
        await mesh.restart("nats-2")
        await until_all_current(bus)
        await requests.wait_for(50)

        assert requests.failures == []
        assert all("Reloaded: tls" in mesh.log(f"nats-{n}") for n in (1, 2, 3))


async def until_all_current(bus: Bus) -> None:
    """Wait until every replica of the stream has what its leader has."""
    others: list[dict[str, object]] = []
    for _ in range(200):
        with suppress(BusUnavailable):
            about = (await stream(bus)).get("cluster")
            others = about.get("replicas", []) if isinstance(about, dict) else []
            if len(others) == 2 and all(other.get("current") for other in others):
                return
        await anyio.sleep(0.1)
    raise AssertionError(f"not all replicas are current: {others}")


def _names(numbers: tuple[int, ...]) -> frozenset[str]:
    return frozenset(f"echo-{number}" for number in numbers)
