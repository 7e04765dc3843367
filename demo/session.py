"""One run of the demo, from the temporary directory to its removal."""

import os
import shlex
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from ipaddress import IPv4Network
from pathlib import Path

import anyio
import msgspec

from common.clock import SystemClock
from common.files import private_folder, replace
from common.names import DEFAULT_TRUST_DOMAIN
from demo import abilities, manifests, namespaces
from demo.launch import STOP_SECONDS, InnerSide, LaunchFailed
from demo.layout import TRANSPARENT_NETWORK, Layout, Mode, lay_out
from demo.messages import Bring, Relay, Stage
from demo.plan import Application
from demo.programs import TELEMETRY_ADMIN, Paths, Programs
from services.identity.bootstrap import bootstrap
from services.identity.directory import MeshDirectory
from services.identity.tokens import issue

PATIENCE_SECONDS = 40.0
GRACE_SECONDS = 4.0
BUS_PORT = 4222
_CLAIM_PORT = 4139
_TOKEN_SECONDS = 86_400.0


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A mesh that is up."""

    layout: Layout
    paths: Paths
    mesh: MeshDirectory
    inner: InnerSide
    metrics_url: str

    @property
    def nats_url(self) -> str:
        """Where people reach the bus."""
        return self.mesh.bus().servers[0]

    @property
    def listen_command(self) -> str:
        """What to paste into a shell in order to see what the mesh says."""
        beside = Path(sys.executable).with_name("tulle")
        tulle = [str(beside)] if beside.exists() else [sys.executable, "-m", "cli"]
        return shlex.join([*tulle, "--mesh", str(self.mesh.root), "bus", "sub", "tulle.v1.>"])


@asynccontextmanager
async def started(
    application: Application,
    mode: Mode,
    env: Mapping[str, str],
    *,
    on_stage: Callable[[Stage], None],
    keep_logs: Callable[[Paths], None] | None,
) -> AsyncIterator[Session]:
    """Start everything; when the context is left, stop and remove everything.

    `keep_logs` is called when all has ended and the logs are still there. Raises LaunchFailed.
    """
    parent = abilities.temporary_parent()
    paths = Paths(root=Path(tempfile.mkdtemp(prefix="tulle-demo-", dir=parent)))
    with ExitStack() as sockets:
        doors = _doors(mode, sockets)
        async with InnerSide(paths, transparent=mode == "transparent", fds=doors.fds) as inner:
            # From here on the inner side removes the directory if we are killed.
            try:
                layout = lay_out(application, mode, doors.network)
                mesh = _prepare(layout, paths, doors)
                programs = Programs(layout, paths, env, doors.bus_inside, DEFAULT_TRUST_DOMAIN)
                sockets.close()
                await inner.bring_up(_order(layout, paths, doors, programs), on_stage)
                yield Session(
                    layout=layout,
                    paths=paths,
                    mesh=mesh,
                    inner=inner,
                    metrics_url=doors.metrics_url,
                )
            finally:
                if keep_logs:
                    with anyio.CancelScope(shield=True), anyio.move_on_after(STOP_SECONDS):
                        await inner.stop(everything=True)
                    keep_logs(paths)


class _Doors(msgspec.Struct, frozen=True, kw_only=True):
    """Where people reach the bus and the metrics, and how these are reached inside."""

    network: IPv4Network
    bus_host: str
    bus_port: int
    bus_inside: int
    metrics_url: str
    fds: tuple[int, ...] = ()


def _doors(mode: Mode, sockets: ExitStack) -> _Doors:
    """Choose addresses and listen where relays will accept; the sockets close with `sockets`."""
    if mode == "explicit":
        network = _free_network(sockets)
        return _Doors(
            network=network,
            bus_host=str(network[1]),
            bus_port=BUS_PORT,
            bus_inside=BUS_PORT,
            metrics_url=f"http://{network[1]}:{TELEMETRY_ADMIN}/metrics",
        )
    bus, metrics = (sockets.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in "12")
    return _Doors(
        network=TRANSPARENT_NETWORK,
        bus_host="127.0.0.1",
        bus_port=bus.getsockname()[1],
        bus_inside=BUS_PORT,
        metrics_url=f"http://127.0.0.1:{metrics.getsockname()[1]}/metrics",
        fds=(bus.fileno(), metrics.fileno()),
    )


def _free_network(sockets: ExitStack) -> IPv4Network:
    """A /16 of loopback addresses that no other demo uses, claimed by listening in it."""
    for number in range(100):
        network = IPv4Network(f"127.{16 + (os.getpid() + number) % 230}.0.0/16")
        try:
            sockets.enter_context(socket.create_server((str(network[1]), _CLAIM_PORT)))
        except OSError:
            continue
        return network
    raise LaunchFailed(
        "no free loopback addresses: expected 127.16.0.0 to 127.245.0.0, or one of them"
    )


def _prepare(layout: Layout, paths: Paths, doors: _Doors) -> MeshDirectory:
    """Everything that lies in files before the first program starts."""
    mesh = bootstrap(
        paths.mesh,
        nats_hosts=tuple(dict.fromkeys((doors.bus_host, layout.control))),
        nats_port=doors.bus_port,
    )
    manifests.write(layout, paths.manifests)
    paths.hosts.write_text(manifests.hosts(layout))
    key = mesh.read(mesh.tokens_key_file)
    for replica in layout.replicas:
        if replica.workload.meshed:
            token = issue(
                key,
                replica.name,
                replica.identity.service_account,
                trust_domain=DEFAULT_TRUST_DOMAIN,
                lifetime=_TOKEN_SECONDS,
                now=SystemClock.now(),
            )
            private_folder(paths.token(replica).parent)
            replace(paths.token(replica), token.encode())
            private_folder(paths.state(replica))
    return mesh


def _order(layout: Layout, paths: Paths, doors: _Doors, programs: Programs) -> Bring:
    targets = (doors.bus_inside, TELEMETRY_ADMIN)
    return Bring(
        network=namespaces.build(layout, paths.hosts) if layout.transparent else (),
        relays=tuple(
            Relay(fd=fd, host=layout.control, port=port)
            for fd, port in zip(doors.fds, targets, strict=False)
        ),
        stages=programs.stages(),
        logs=str(paths.logs),
        patience=PATIENCE_SECONDS,
        grace=GRACE_SECONDS,
    )
