"""A mesh directory with its real nats-server and its real identity service, for tests."""

import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import anyio
from nats.aio.client import Client

from common.bus import Bus
from common.bus.guarded import Guarded
from common.clock import SystemClock
from common.config import environment
from common.contract import subjects
from common.names import WorkloadName
from common.nats_server import NatsServer, free_port
from common.x509 import bus_context
from services.identity import nats_files
from services.identity.bootstrap import bootstrap
from services.identity.directory import MeshDirectory
from services.identity.permissions import Role
from services.identity.tokens import issue
from tests.support.nats import until


class Mesh:
    """What a test needs of a running mesh: its files, its server, and ways in."""

    def __init__(
        self,
        directory: MeshDirectory,
        server: NatsServer,
        work: Path,
        others: Sequence[NatsServer] = (),
    ) -> None:
        self.directory = directory
        self.server = server
        self.servers = (server, *others)
        """All nodes, of which tests know the first best."""
        self.work = work
        self.trust_domain = directory.bus().trust_domain
        self._logs: list[Path] = []
        self.anchors_pem = directory.anchors_file.read_text()

    def environment(self, **settings: object) -> dict[str, str]:
        """The environment of a program of this mesh: `TULLE_…` for each setting."""
        common = {"bus": self.server.url, "trust_anchors_file": self.directory.anchors_file}
        given = {f"TULLE_{k.upper()}": str(v) for k, v in {**common, **settings}.items()}
        return {"PATH": environment().get("PATH", ""), **given}

    def token(self, workload: WorkloadName, account: str = "", **changes: float) -> str:
        """A join token for a workload (its account has its name if none is given)."""
        pem = self.directory.tokens_key_file.read_bytes()
        now = changes.pop("now", SystemClock.now())
        return issue(
            pem,
            workload,
            account or workload.name,
            trust_domain=self.trust_domain,
            now=now,
            **changes,
        )

    def workload_bus(self, workload: WorkloadName, token: str) -> Bus:
        """A bus such as a proxy's."""
        return Bus(
            [self.server.url],
            name=str(workload),
            tls=lambda: bus_context(self.anchors_pem),
            token=lambda: token,
            inbox_prefix=subjects.inbox(workload),
            says_below=subjects.SAID,
        )

    async def client(
        self,
        *,
        token: str = "",
        seed: str = "",
        inbox: str = "_INBOX",
        errors: list[str] | None = None,
        node: int = 0,
    ) -> Client:
        """A plain NATS client, such as an intruder's; what the server complains of goes to `errors`."""
        heard = [] if errors is None else errors

        async def on_error(error: Exception) -> None:
            heard.append(str(error))

        client = Guarded(demands_tls=True)
        try:
            await client.connect(
                self.servers[node].url,
                tls=bus_context(self.anchors_pem),
                inbox_prefix=inbox,
                error_cb=on_error,
                allow_reconnect=False,
                connect_timeout=10,
                nkeys_seed_str=seed or None,
                token=token or None,
            )
        except BaseException:
            # Of a connection that was refused nats-py leaves the socket to the garbage collector.
            with anyio.move_on_after(0.1, shield=True), suppress(Exception):
                await client.close()
            client.abort()
            raise
        return client

    @asynccontextmanager
    async def role(self, role: Role) -> AsyncIterator[Bus]:
        """A connected bus of a service or the operator."""
        async with Bus(
            [self.server.url],
            name=role,
            tls=lambda: bus_context(self.anchors_pem),
            nkey_seed=lambda: self.directory.user(role).seed,
            inbox_prefix=subjects.role_inbox(role),
        ) as bus:
            with anyio.fail_after(15):
                await bus.wait_connected()
            yield bus

    @asynccontextmanager
    async def identity(self, **settings: object) -> AsyncIterator["subprocess.Popen[bytes]"]:
        """`python -m services.identity` until the end of the context, once it admits."""
        own = {"dir": self.directory.root, "admin_listen": "127.0.0.1:0", **settings}
        env = self.environment(**own)
        path = self.work / f"identity-{len(self._logs)}.log"
        self._logs.append(path)
        with path.open("wb") as log:
            process = subprocess.Popen(  # noqa: ASYNC220 - starting it takes no time
                [sys.executable, "-m", "services.identity"], env=env, stderr=log, stdout=log
            )
            try:
                # Whoever knocks before NATS has identity's ear would wait for a timeout.
                await until(lambda: process.poll() is not None or _connected(path))
                yield process
            finally:
                with anyio.CancelScope(shield=True):
                    process.terminate()
                    with suppress(subprocess.TimeoutExpired):
                        await anyio.to_thread.run_sync(process.wait, 10.0)
                    process.kill()
                    process.wait()

    def identity_log(self) -> str:
        """What all identity services logged."""
        return "".join(path.read_text() for path in self._logs)


@asynccontextmanager
async def cluster(work: Path) -> AsyncIterator[Mesh]:
    """As `nats`, with three nodes."""
    nodes = [nats_files.parse_node(f"n{n}=127.0.0.1:{free_port()}:{free_port()}") for n in range(3)]
    directory = bootstrap(work / "mesh", nodes=nodes, store_dir=work / "store")
    async with AsyncExitStack() as stack:
        servers = []
        for node in nodes:
            config = directory.node_config_file(node.name)
            server = NatsServer(config, scheme="tls", port=node.port)
            servers.append(await stack.enter_async_context(server))
        yield Mesh(directory, servers[0], work, servers[1:])


@asynccontextmanager
async def nats(work: Path) -> AsyncIterator[Mesh]:
    """A mesh directory in `work` and its nats-server, without an identity service."""
    directory = bootstrap(work / "mesh", store_dir=work / "store")
    config = directory.nats_config_file
    async with NatsServer(config, scheme="tls", store=work / "store") as server:
        yield Mesh(directory, server, work)


def _connected(log: Path) -> bool:
    return "name=identity" in log.read_text()
