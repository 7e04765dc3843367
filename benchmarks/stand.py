"""The test stand: the mesh, the peers and the server behind all of them, each pair as two processes."""

import signal
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import anyio

from benchmarks import certificates, envoy, haproxy, place
from benchmarks.tools import Tools
from benchmarks.tulle import CLIENT, NAMESPACE, ORIGIN, Mesh
from demo import readiness
from demo.messages import Finishes, Program, Step
from demo.supervisor import ProgramFailed, Running, describe

_PATIENCE_SECONDS = 40.0
_POLL_SECONDS = 0.05


class StandFailed(Exception):
    """The stand did not come up, or fell apart; the message says what and why."""


class Pair(NamedTuple):
    """Process ids of the two proxies of a product."""

    outbound: int
    inbound: int


class Stand:
    """Everything that runs while there is something to measure."""

    def __init__(
        self, tasks: anyio.abc.TaskGroup, root: Path, tools: Tools, env: dict[str, str]
    ) -> None:
        self.tools = tools
        self.mesh = Mesh(root, env)
        self.pairs: dict[str, Pair] = {}
        self.not_up: dict[str, str] = {}
        """Peers that are here but did not come up, with the reason."""
        self._env = env
        self._root = root
        self._tasks = tasks
        self._logs = root / "logs"
        self._logs.mkdir()
        self._running: dict[str, Running] = {}

    async def bring_up(self, *, peers: bool = True) -> None:
        """Start everything; raises StandFailed if the mesh or the server does not come up."""
        for step in place.network(self.mesh.addresses):
            await _run(step)
        for stage in self.mesh.stages():
            await self._start(stage)
        self._know("tulle", f"{CLIENT}-1-proxy", f"{ORIGIN}-1-proxy")
        if not peers:
            return
        pki = certificates.make(self.mesh.directory, self._root / "peers", NAMESPACE)
        for product, module in (("envoy", envoy), ("haproxy", haproxy)):
            if product in self.tools.found:
                folder = self._root / product
                binary, env = self.tools.found[product], self._env
                programs = module.write(binary, folder, pki, self.mesh.origin, env)
                try:
                    await self._start(programs)
                except StandFailed as error:
                    self.not_up[product] = str(error)
                else:
                    self._know(product, f"{product}-outbound", f"{product}-inbound")

    async def stop(self) -> None:
        """End everything that was started, without ceremony: nothing of it is kept."""
        for running in self._running.values():
            running.signal(signal.SIGKILL)
        for running in self._running.values():
            await running.ended.wait()

    def log(self, name: str) -> str:
        """What a program has said."""
        return (self._logs / f"{name}.log").read_text(errors="replace")

    def check(self) -> None:
        """Raises StandFailed if a program has ended that should be running."""
        for name, running in self._running.items():
            if running.status not in (None, 0):
                raise StandFailed(
                    f"{name} ended with {describe(running.status)}: {self._tail(name)}"
                )

    async def _start(self, stage: Iterable[Program]) -> None:
        stage = tuple(stage)
        for program in stage:
            try:
                running = Running(program, self._logs / f"{program.name}.log")
            except ProgramFailed as error:
                raise StandFailed(f"{program.name}: {error}") from None
            self._running[program.name] = running
            self._tasks.start_soon(running.watch)
        for program in stage:
            await self._ready(self._running[program.name])

    async def _ready(self, running: Running) -> None:
        name, ready = running.program.name, running.program.ready
        missing = "nothing known"
        with anyio.move_on_after(_PATIENCE_SECONDS):
            while running.status is None:
                missing = await readiness.check(ready, running.pid)
                if not missing:
                    return
                await anyio.sleep(_POLL_SECONDS)
            if isinstance(ready, Finishes) and running.status == 0:
                return
            missing = describe(running.status)
        raise StandFailed(f"{name} did not come up: {missing}\n{self._tail(name)}")

    def _know(self, product: str, outbound: str, inbound: str) -> None:
        pids = self._running[outbound].pid, self._running[inbound].pid
        self.pairs[product] = Pair(outbound=pids[0], inbound=pids[1])

    def _tail(self, name: str) -> str:
        log = self._logs / f"{name}.log"
        return log.read_text(errors="replace")[-1500:].strip() if log.exists() else ""


async def _run(step: Step) -> None:
    done = await anyio.run_process(step.argv, input=step.text.encode(), check=False)
    if done.returncode:
        raise StandFailed(f"{' '.join(step.argv)}: {done.stderr.decode(errors='replace').strip()}")
