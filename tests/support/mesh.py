"""A whole mesh of real processes on loopback, in which a test may stop, kill and restart each of them."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Network
from pathlib import Path

import anyio
import msgspec
from anyio.abc import TaskGroup

from cli.mesh import operator_bus
from common.bus import Bus
from common.clock import SystemClock
from common.config import environment
from common.contract import subjects
from common.contract.telemetry import EdgeRow, EdgesRequest
from common.files import private_folder, replace
from common.names import DEFAULT_TRUST_DOMAIN
from demo import manifests, readiness
from demo.layout import Layout, Replica, lay_out
from demo.messages import Accepts, Program
from demo.plan import parse
from demo.programs import ADMIN_PORT, OUTBOUND_PORT, Paths, Programs
from demo.supervisor import Running
from services.identity.bootstrap import bootstrap
from services.identity.directory import MeshDirectory
from services.identity.nats_config import Node
from services.identity.tokens import issue
from tests.support.nats import until

PATIENCE_SECONDS = 40.0
Stages = tuple[tuple[Program, ...], ...]


class RunningMesh:
    """A mesh in explicit mode: every replica has a loopback address of its own."""

    def __init__(self, group: TaskGroup, layout: Layout, paths: Paths, mesh: MeshDirectory) -> None:
        self._group = group
        self.layout = layout
        self.paths = paths
        self.directory = mesh
        self.programs: dict[str, Program] = {}
        self.running: dict[str, Running] = {}

    def replica(self, name: str) -> Replica:
        """The replica called `name`, such as `books-1`."""
        return next(r for r in self.layout.replicas if r.name.name == name)

    def proxy_url(self, name: str) -> str:
        """Where the replica's program finds its forward proxy."""
        return f"http://{self.replica(name).address}:{OUTBOUND_PORT}"

    def admin_url(self, name: str) -> str:
        """Where the replica's proxy answers /ready and /metrics."""
        return f"http://{self.replica(name).address}:{ADMIN_PORT}"

    def log(self, name: str) -> str:
        """What a program has said so far."""
        return (self.paths.logs / f"{name}.log").read_text()

    def configure(self, settings: Mapping[str, object], *names: str) -> None:
        """Give programs other settings, from their next start on."""
        more = {f"TULLE_{key.upper()}": str(value) for key, value in settings.items()}
        for name in names:
            program = self.programs[name]
            self.programs[name] = msgspec.structs.replace(program, env=program.env | more)

    async def start(self, *names: str, wait: bool = True) -> None:
        """Start programs, and wait until they are ready."""
        for name in names:
            running = self.begin(self.programs[name])
            self.running[name] = running
            self._group.start_soon(running.watch)
        if wait:
            for name in names:
                await self.ready(name)

    def begin(self, program: Program) -> Running:
        """Start a program."""
        return Running(program, self.paths.logs / f"{program.name}.log")

    async def missing(self, running: Running) -> str:
        """What a program that has been started lacks to be ready; empty if nothing."""
        return await readiness.check(running.program.ready, running.pid)

    async def ready(self, name: str) -> None:
        """Wait until a program is ready; AssertionError with its log if it is not in time."""
        running = self.running[name]
        missing = "nothing known"
        with anyio.move_on_after(PATIENCE_SECONDS):
            while True:
                missing = await self.missing(running)
                if not missing:
                    return
                assert running.status is None, f"{name} ended: {self.log(name)[-4000:]}"
                await anyio.sleep(0.05)
        raise AssertionError(f"{name} is not ready: {missing}\n{self.log(name)[-4000:]}")

    async def stop(self, name: str, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a program a signal and wait for its end; returns its exit status."""
        running = self.running.pop(name)
        running.signal(number)
        with anyio.fail_after(PATIENCE_SECONDS):
            await running.ended.wait()
        assert running.status is not None
        return running.status

    async def kill(self, name: str) -> None:
        """End a program without a word."""
        await self.stop(name, signal.SIGKILL)

    async def restart(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop a program, start it again, and wait until it is ready."""
        await self.stop(name, number)
        await self.start(name)

    @asynccontextmanager
    async def bus(self) -> AsyncIterator[Bus]:
        """The bus, as the operator."""
        async with operator_bus(self.directory) as bus:
            yield bus

    async def edge(self, source: str, target: str, *, requests: int) -> EdgeRow:
        """What telemetry says of an edge, once it knows of so many requests there."""
        found: list[EdgeRow] = []
        async with self.bus() as bus:
            for _ in range(100):
                reply = await bus.request(subjects.edges(), EdgesRequest(window=600.0))
                found = [row for row in reply.rows if (row.source, row.target) == (source, target)]
                if found and found[0].figures.requests >= requests:
                    return found[0]
                await anyio.sleep(0.2)
        raise AssertionError(f"{source} → {target}: {requests} requests expected, told {found}")


@asynccontextmanager
async def running_mesh(
    directory: Path,
    application: str,
    proxies: Mapping[str, object] | None = None,
    *,
    nodes: int = 1,
    **identity: object,
) -> AsyncIterator[RunningMesh]:
    """A mesh with `application` (YAML as for `tulle demo --file`), up and ready; all gone afterwards.

    `proxies` are settings of every proxy, such as `{"shutdown_grace_seconds": 20}`; `identity` are those of
    the identity service, such as `leaf_seconds=4`. With three or five `nodes`, NATS is a cluster of programs
    called `nats-1` and so on.
    """
    network, claim = _free_network()
    port = _free_port(str(network[1]))
    with claim:
        layout = lay_out(parse(application), "explicit", network)
        paths = Paths(root=directory)
        numbers = range(1, nodes + 1) if nodes > 1 else ()
        cluster = [_node(network, number, port) for number in numbers]
        mesh = _prepare(layout, paths, str(network[1]), port, cluster)
        stages = Programs(layout, paths, environment(), port, DEFAULT_TRUST_DOMAIN).stages()
        if cluster:
            stages = _clustered(stages, mesh, cluster)
        async with anyio.create_task_group() as group:
            running = RunningMesh(group, layout, paths, mesh)
            running.programs = {program.name: program for stage in stages for program in stage}
            running.configure(identity, "identity")
            names = [name for name in running.programs if name.endswith("-proxy")]
            running.configure(proxies or {}, *names)
            try:
                for stage in stages:
                    await running.start(*(program.name for program in stage))
                yield running
            finally:
                with anyio.CancelScope(shield=True):
                    for name in reversed(list(running.running)):
                        await running.kill(name)


def _node(network: IPv4Network, number: int, port: int) -> Node:
    host = str(network[number])
    return Node(f"nats-{number}", host, port, _free_port(host))


def _clustered(stages: Stages, mesh: MeshDirectory, nodes: Sequence[Node]) -> Stages:
    """The same programs with several servers instead of the one, which the others know."""
    (single, *rest), *later = stages
    (binary, *_) = single.argv
    servers = tuple(
        msgspec.structs.replace(
            single,
            name=node.name,
            argv=(binary, "-c", str(mesh.node_config_file(node.name)), "-a", node.host),
            ready=Accepts(node.host, node.port),
        )
        for node in nodes
    )
    bus = {"TULLE_BUS": ",".join(mesh.bus().servers)}

    def told(program: Program) -> Program:
        known = "TULLE_BUS" in program.env
        return msgspec.structs.replace(program, env=program.env | bus) if known else program

    return ((*servers, *rest), *(tuple(map(told, stage)) for stage in later))


def _prepare(
    layout: Layout, paths: Paths, bus_host: str, bus_port: int, nodes: Sequence[Node]
) -> MeshDirectory:
    paths.logs.mkdir(parents=True)
    mesh = bootstrap(paths.mesh, nats_hosts=(bus_host,), nats_port=bus_port, nodes=nodes)
    manifests.write(layout, paths.manifests)
    key = mesh.read(mesh.tokens_key_file)
    for replica in layout.replicas:
        token = issue(
            key,
            replica.name,
            replica.identity.service_account,
            trust_domain=DEFAULT_TRUST_DOMAIN,
            lifetime=3600.0,
            now=SystemClock.now(),
        )
        private_folder(paths.token(replica).parent)
        replace(paths.token(replica), token.encode())
        private_folder(paths.state(replica))
    return mesh


def _free_network() -> tuple[IPv4Network, socket.socket]:
    for number in range(100):
        network = IPv4Network(f"127.{16 + (os.getpid() + number) % 230}.0.0/16")
        try:
            return network, socket.create_server((str(network[1]), 4138))
        except OSError:
            continue
    raise AssertionError("no free loopback addresses")


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as chosen:
        return int(chosen.getsockname()[1])


class Load:
    """Steady requests over keep-alive connections through a forward proxy, each counted."""

    def __init__(self, proxy_url: str, url: str, connections: int = 4, pause: float = 0.01) -> None:
        self._proxy = proxy_url.removeprefix("http://")
        self._url = url
        self._connections = connections
        self._pause = pause
        self.sent = 0
        self.failures: list[str] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        """Send for as long as the context lasts."""
        async with anyio.create_task_group() as group:
            for _ in range(self._connections):
                group.start_soon(self._send)
            yield self
            group.cancel_scope.cancel()

    async def wait_for(self, more: int, seconds: float = 30.0) -> None:
        """Wait until `more` requests than now have been answered."""
        wanted = self.sent + more
        await until(lambda: self.sent >= wanted, seconds)

    async def _send(self) -> None:
        host, _, port = self._proxy.partition(":")
        while True:
            try:
                reader, writer = await asyncio.open_connection(host, int(port))
            except OSError as error:
                self.failures.append(f"connect: {error}")
                await anyio.sleep(self._pause)
                continue
            try:
                await self._send_over(reader, writer)
            finally:
                writer.close()

    async def _send_over(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(1_000_000):
            if not await self._one(reader, writer):
                return
            await anyio.sleep(self._pause)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; false if the connection cannot be used again."""
        authority = self._url.split("/")[2]
        writer.write(f"GET {self._url} HTTP/1.1\r\nhost: {authority}\r\n\r\n".encode())
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").lower().split("\r\n")
            fields = dict(line.split(": ", 1) for line in lines[1:] if line)
            await reader.readexactly(int(fields.get("content-length", "0")))
        except (OSError, asyncio.IncompleteReadError) as error:
            self.failures.append(f"lost: {error!r}")
            return False
        self.sent += 1
        if not lines[0].startswith("http/1.1 200"):
            self.failures.append(f"{lines[0]} {fields.get('tulle-error', '')}")
        return fields.get("connection") != "close"
