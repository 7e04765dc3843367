"""A mesh directory with its real nats-server and its real identity service, for tests."""

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio

from common.bus import Bus
from common.clock import SystemClock
from common.config import environment
from common.contract import subjects
from common.names import WorkloadName
from common.nats_server import NatsServer
from common.x509 import bus_context
from services.identity.bootstrap import bootstrap
from services.identity.directory import MeshDirectory
from services.identity.permissions import Role
from services.identity.tokens import issue
from tests.support.nats import until


class Mesh:
    """What a test needs of a running mesh: its files, its server, and ways in."""

    def __init__(self, directory: MeshDirectory, server: NatsServer, work: Path) -> None:
        self.directory = directory
        self.server = server
        self.work = work
        self.trust_domain = directory.bus().trust_domain
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

    def bus(self, name: str = "test", *, token: str | None = None, seed: str | None = None) -> Bus:
        """A bus with a token or an nkey seed; enter it to connect."""
        prefix = "_INBOX"
        return Bus(
            [self.server.url],
            name=name,
            tls=lambda: bus_context(self.anchors_pem),
            token=None if token is None else lambda: token,
            nkey_seed=seed,
            inbox_prefix=prefix,
        )

    def workload_bus(self, workload: WorkloadName, token: str) -> Bus:
        """A bus such as a proxy's."""
        return Bus(
            [self.server.url],
            name=str(workload),
            tls=lambda: bus_context(self.anchors_pem),
            token=lambda: token,
            inbox_prefix=subjects.inbox(workload),
        )

    @asynccontextmanager
    async def role(self, role: Role) -> AsyncIterator[Bus]:
        """A connected bus of a service or the operator."""
        async with self.bus(role, seed=self.directory.user(role).seed) as bus:
            with anyio.fail_after(15):
                await bus.wait_connected()
            yield bus

    @asynccontextmanager
    async def identity(self, **settings: object) -> AsyncIterator["subprocess.Popen[bytes]"]:
        """`python -m services.identity` until the end of the context; its log is in `identity.log`."""
        env = self.environment(dir=self.directory.root, admin_listen="127.0.0.1:0", **settings)
        with (self.work / "identity.log").open("wb") as log:
            process = subprocess.Popen(  # noqa: ASYNC220 - starting it takes no time
                [sys.executable, "-m", "services.identity"], env=env, stderr=log, stdout=log
            )
            try:
                await until(lambda: process.poll() is not None or self._admits())
                yield process
            finally:
                with anyio.CancelScope(shield=True):
                    process.terminate()
                    with suppress(subprocess.TimeoutExpired):
                        await anyio.to_thread.run_sync(process.wait, 10.0)
                    process.kill()
                    process.wait()

    def _admits(self) -> bool:
        """NATS has identity's ear: whoever knocked before would wait for its timeout."""
        return "name=identity" in self.identity_log()

    def identity_log(self) -> str:
        """What identity logged."""
        return (self.work / "identity.log").read_text()


@asynccontextmanager
async def nats(work: Path) -> AsyncIterator[Mesh]:
    """A mesh directory in `work` and its nats-server, without an identity service."""
    directory = bootstrap(work / "mesh", store_dir=work / "store")
    config = directory.nats_config_file
    async with NatsServer(config, scheme="tls", store=work / "store") as server:
        yield Mesh(directory, server, work)
