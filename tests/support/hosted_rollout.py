"""Changes under load in network namespaces: a service of every protocol, and clients that know of no proxy."""

import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec

from tests.support.hosted import HostedMesh, hosted_mesh
from tests.support.hosts import PATH, give_up
from tests.support.intercepted import Talking
from tests.support.rollout import GRACE_SECONDS, HTTP_PORT, TCP_PORT, Rollout
from tests.support.steady import Tally

HTTP2_PORT, GRPC_PORT = 8001, 50051
PORTS = (HTTP_PORT, TCP_PORT, HTTP2_PORT, GRPC_PORT)
LONG_SECONDS = 2.5
"""What takes long takes so long: less than the grace period, more than an application lingers."""
PATIENCE_SECONDS = 60.0
CLIENT = "{{name: {name}, command: [sleep, '100000']}}"
SERVICE = """
    name: {name}
    command: ["{{python}}", -P, -m, tests.support.polyglot, "{folder}/{name}-{{replica}}", {argv}]
    ports: [{http}, {{port: {tcp}, protocol: tulle.dev/opaque}}, {http2}, {grpc}]
    replicas: {replicas}
"""


class Steady:
    """A client that sends, and what it says of it (see steady.py)."""

    def __init__(self, client: Talking) -> None:
        self._client = client
        self.tallies: list[Tally] = []

    @property
    def lost(self) -> dict[str, list[str]]:
        """What was lost, by kind of traffic."""
        return {tally.name: tally.lost for tally in self.tallies if tally.lost}

    @property
    def refused(self) -> int:
        """Connections that nobody took."""
        return sum(tally.refused for tally in self.tallies)

    async def goes_on(self) -> None:
        """Wait until one more of every kind has been answered."""
        before = await self._ask()
        with anyio.fail_after(PATIENCE_SECONDS):
            for at, tally in enumerate(before):
                while self.tallies[at].answered <= tally.answered:
                    await anyio.sleep(0.1)
                    await self._ask()

    async def finish(self) -> None:
        """Let it finish what it has begun."""
        await self._client.hear(b"")
        await self._told()

    async def _ask(self) -> list[Tally]:
        assert self._client.process.stdin is not None
        await self._client.process.stdin.send(b"?\n")
        return await self._told()

    async def _told(self) -> list[Tally]:
        said = await self._client.line(PATIENCE_SECONDS)
        self.tallies = msgspec.json.decode(said, type=list[Tally])
        return self.tallies


class HostedRollout(Rollout):
    """Changes a mesh in network namespaces."""

    mesh: HostedMesh

    @asynccontextmanager
    async def steady(
        self, via: str = "client-1", to: str = "web", pace: float = 1.0
    ) -> AsyncIterator[Steady]:
        """Traffic of every kind while the context lasts; what has begun is finished, and all told.

        `pace`: what is paused between requests is multiplied by it.
        """
        argv = (to, *PORTS, LONG_SECONDS, pace)
        program = (sys.executable, "-P", "-m", "tests.support.steady", *map(str, argv))
        async with self.mesh.hosts.running(via, *program) as client:
            sent = Steady(client)
            yield sent
            await sent.finish()
        sys.stdout.write("".join(f"{via} → {to}: {tally}\n" for tally in sent.tallies))


def application(folder: Path, clients: tuple[str, ...], services: dict[str, int]) -> str:
    """The application file: clients, and services with so many replicas, whose files are in `folder`."""
    http, tcp, http2, grpc = PORTS
    argv = ", ".join(f'"{port}"' for port in PORTS)
    ports = {"http": http, "tcp": tcp, "http2": http2, "grpc": grpc}
    workloads = [CLIENT.format(name=name) for name in clients]
    workloads += [
        SERVICE.format(name=name, folder=folder, argv=argv, replicas=replicas, **ports)
        for name, replicas in services.items()
    ]
    return "namespace: shop\nworkloads:\n" + "".join(f"  - {one}\n" for one in workloads)


@asynccontextmanager
async def hosted_rollout(
    folder: Path, clients: tuple[str, ...] = ("client",), rocks: tuple[str, ...] = ()
) -> AsyncIterator[HostedRollout]:
    """A mesh in which the first two of four replicas of `web` are in use; `rocks` are services like it, of one.

    The programs of all of them are the test's to stop and start. The test is skipped where it cannot be had.
    """
    if shutil.which("nginx", path=PATH) is None:
        give_up("nginx missing (sudo apt-get install nginx-light)")
    services = {"web": 4} | dict.fromkeys(rocks, 1)
    names = (*clients, *services)
    grace = {"shutdown_grace_seconds": GRACE_SECONDS}
    async with (
        hosted_mesh(application(folder, clients, services), names, grace) as mesh,
        mesh.bus() as bus,
    ):
        made = HostedRollout(mesh)
        await made.start(bus)
        await made.serve(1, 2)
        yield made
