"""`python -m benchmarks.stampede`: a thousand proxies join, certify and come back, each time all at once.

Each is what a proxy is to identity: a connection to NATS over TLS, a join token, a key and a signing request,
afterwards a proof; with the proxy's own code, and its own patience. NATS and identity are real programs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import msgspec

from benchmarks.accounting import cpu_seconds, peak_mb, resident_mb
from benchmarks.asking import get
from common import log
from common.backoff import Backoff
from common.bus import Bus
from common.clock import SystemClock
from common.config import environment
from common.contract import subjects
from common.contract.identity import CertifyRequest
from common.errors import MeshError
from common.files import private_folder, replace
from common.names import Identity, WorkloadName
from common.nats_server import NatsServer, free_port
from common.x509 import generate_key, signing_request
from proxy.control.certify import Credentials
from services.identity.bootstrap import bootstrap
from services.identity.directory import MeshDirectory
from services.identity.tokens import issue

PATIENCE_SECONDS = 120.0
"""Who has not got in by then has failed."""
_REQUEST_SECONDS = 10.0
_LOOK_SECONDS = 0.05
_LOOK_AGAIN_SECONDS = 0.25


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """One stampede. Times are seconds from its beginning."""

    name: str
    proxies: int
    failed: int
    """Proxies that did not get what they came for."""
    refused: int
    """Times that identity said no."""
    again: int
    """Times that somebody had no answer in time, and asked again."""
    first: float
    half: float
    """When half of them had it."""
    last: float
    cpu_seconds: float
    """Of identity."""
    peak_mb: float
    """Memory of identity, at most, since its start; units of 10⁶ bytes."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The whole run."""

    idle_mb: float
    """Memory of identity before anybody came."""
    phases: tuple[Phase, ...]


@dataclass
class Stand:
    """Identity, and the simulated proxies."""

    mesh: MeshDirectory
    server: NatsServer
    work: Path
    admin: str
    pid: int = 0
    proxies: list["Simulated"] = field(default_factory=list)


class Simulated:
    """What of a proxy identity ever sees."""

    def __init__(self, stand: Stand, number: int) -> None:
        name = WorkloadName("shop", f"web-{number:05}")
        self._identity, self._name = Identity("shop", "web"), name
        self._left = 0
        self.asked_again = 0
        """How often there was no answer to a request, in time or at all."""
        folder = private_folder(stand.work / name.name)
        now = SystemClock.now()
        key = stand.mesh.read(stand.mesh.tokens_key_file)
        domain = stand.mesh.bus().trust_domain
        token = issue(key, name, "web", trust_domain=domain, now=now)
        replace(folder / "token", token.encode())
        self.credentials = Credentials(
            self._identity,
            name,
            state_dir=folder,
            anchors_file=stand.mesh.anchors_file,
            token_file=folder / "token",
        )
        self.bus = Bus(
            [stand.server.url],
            name=str(name),
            tls=self.credentials.bus_context,
            token=self.credentials.bus_token,
            inbox_prefix=subjects.inbox(name),
            says_below=subjects.SAID,
        )

    async def run(self) -> None:
        """Connect and stay certified, until cancelled."""
        async with self.bus:
            await self.credentials.run(self.bus)

    async def certified(self) -> None:
        """Wait for the first certificate."""
        await self.credentials.current.wait_for(lambda held: held is not None)

    async def ask(self) -> None:
        """Ask for one certificate, until there is an answer, as patiently as a proxy."""
        csr = signing_request(self._identity, self._name, generate_key())
        question = subjects.certify(self._identity, self._name)
        backoff = Backoff(SystemClock(), first=0.5, most=30.0)
        while True:
            try:
                await self.bus.request(question, CertifyRequest(csr=csr), timeout=_REQUEST_SECONDS)
            except MeshError:
                self.asked_again += 1
                await anyio.sleep(backoff.next())
            else:
                return

    def leave(self) -> None:
        """From now on, only another connection counts."""
        self._left = self.bus.stats.connections

    async def back(self) -> None:
        """Wait until there is another connection than when it left."""
        while True:
            if self.bus.stats.connections > self._left:
                return
            await anyio.sleep(_LOOK_AGAIN_SECONDS)


async def measure(count: int, *, returning: bool = True) -> Outcome:
    """All phases, one after the other; the last one only if `returning`."""
    with tempfile.TemporaryDirectory(prefix="tulle-stampede-") as folder:
        async with _stand(Path(folder)) as stand, anyio.create_task_group() as group:
            idle = resident_mb([stand.pid])
            stand.proxies = [Simulated(stand, number) for number in range(count)]

            async def come() -> None:
                for proxy in stand.proxies:
                    group.start_soon(proxy.run)

            async def leave_and_return() -> None:
                for proxy in stand.proxies:
                    proxy.leave()
                await stand.server.restart()

            phases = [
                await _phase("join with a token", stand, come, Simulated.certified),
                await _phase("certify", stand, _nothing, Simulated.ask),
            ]
            if returning:
                phases.append(
                    await _phase("return with a proof", stand, leave_and_return, Simulated.back)
                )
            group.cancel_scope.cancel()
    return Outcome(idle_mb=idle, phases=tuple(phases))


async def _phase(
    name: str,
    stand: Stand,
    begin: Callable[[], Awaitable[None]],
    wait: Callable[[Simulated], Awaitable[None]],
) -> Phase:
    """Begin, and see when each of them has what it came for."""
    clock, times = SystemClock(), list[float]()
    refused, cpu = await _refused(stand), cpu_seconds(stand.pid)
    again = sum(proxy.asked_again for proxy in stand.proxies)

    async def one(proxy: Simulated) -> None:
        with anyio.move_on_after(PATIENCE_SECONDS):
            await wait(proxy)
            times.append(clock.monotonic() - began)

    began = clock.monotonic()
    await begin()
    async with anyio.create_task_group() as group:
        for proxy in stand.proxies:
            group.start_soon(one, proxy)
    times.sort()
    return Phase(
        name=name,
        proxies=len(stand.proxies),
        failed=len(stand.proxies) - len(times),
        refused=await _refused(stand) - refused,
        again=sum(proxy.asked_again for proxy in stand.proxies) - again,
        first=times[0] if times else 0.0,
        half=times[len(times) // 2] if times else 0.0,
        last=times[-1] if times else 0.0,
        cpu_seconds=cpu_seconds(stand.pid) - cpu,
        peak_mb=peak_mb(stand.pid),
    )


async def _nothing() -> None:
    """They are there already."""


async def _refused(stand: Stand) -> int:
    """How often identity has said no, by its own count."""
    text = await get(stand.admin, "/metrics")
    lines = [line for line in text.splitlines() if 'what="refused"' in line]
    return int(float(lines[0].rpartition(" ")[2])) if lines else 0


@asynccontextmanager
async def _stand(folder: Path) -> AsyncIterator[Stand]:
    """NATS and identity, up and ready."""
    mesh = bootstrap(folder / "mesh", store_dir=folder / "store")
    store = folder / "store"
    async with NatsServer(mesh.nats_config_file, scheme="tls", store=store) as server:
        stand = Stand(mesh, server, private_folder(folder / "work"), f"127.0.0.1:{free_port()}")
        env = {
            "PATH": environment().get("PATH", ""),
            "TULLE_DIR": str(mesh.root),
            "TULLE_BUS": server.url,
            "TULLE_ADMIN_LISTEN": stand.admin,
            "TULLE_LOG_LEVEL": "error",
        }
        identity = subprocess.Popen(  # noqa: ASYNC220 - starting it takes no time
            [sys.executable, "-m", "services.identity"], env=env
        )
        try:
            stand.pid = identity.pid
            await _ready(stand)
            yield stand
        finally:
            identity.terminate()
            identity.wait()


async def _ready(stand: Stand) -> None:
    with anyio.fail_after(30):
        while True:
            try:
                if (await get(stand.admin, "/ready")).startswith("ready"):
                    return
            except OSError:
                pass
            await anyio.sleep(_LOOK_SECONDS)


def table(outcome: Outcome) -> str:
    """What was measured, as Markdown."""
    lines = [
        "| all at once | proxies | failed | refused | asked again | first | half | last | CPU of identity |"
        " its memory, peak |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {p.name} | {p.proxies} | {p.failed} | {p.refused} | {p.again} | {p.first:.2f} s | {p.half:.1f} s"
        f" | {p.last:.1f} s | {p.cpu_seconds:.1f} s | {p.peak_mb:.0f} MB |"
        for p in outcome.phases
    ]
    return "\n".join([*lines, "", f"Memory of identity before: {outcome.idle_mb:.0f} MB."])


def main() -> int:
    """Run with the command line's arguments; the exit status is 1 if any proxy failed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.stampede", description="Many proxies meet identity at once."
    )
    parser.add_argument("--proxies", type=int, default=1000, help="how many (default: 1000)")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    flags = parser.parse_args()
    log.setup("error", "plain")
    outcome = anyio.run(measure, flags.proxies, backend_options={"use_uvloop": True})
    if flags.json:
        print(json.dumps(msgspec.to_builtins(outcome), indent=1))
    else:
        print(table(outcome))
    return 1 if any(phase.failed for phase in outcome.phases) else 0


if __name__ == "__main__":
    sys.exit(main())
