"""A mesh in network namespaces, in which a test may stop, kill and restart what runs in each of them."""

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec
from anyio.abc import TaskGroup

from common.names import DEFAULT_TRUST_DOMAIN
from demo import readiness
from demo.messages import Answers, Program
from demo.programs import Programs
from demo.session import BUS_PORT
from demo.supervisor import Running
from tests.support.hosts import PATH
from tests.support.intercepted import Intercepted, intercepted
from tests.support.mesh import RunningMesh


class Inside(Running):
    """A program in namespaces: nsenter(1) is our child, and the program is nsenter's."""

    @property
    def inside(self) -> int:
        """The program's own process id; 0 if there is none yet or any more."""
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            return int(children[0]) if children else 0
        return 0

    def signal(self, number: signal.Signals) -> None:
        """Send the program a signal; SIGKILL goes to whatever it started, too."""
        if number is signal.SIGKILL:
            super().signal(number)
        elif pid := self.inside:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


class HostedMesh(RunningMesh):
    """A mesh in transparent mode; of its programs those of `workloads` can be stopped and started."""

    def __init__(self, group: TaskGroup, hosts: Intercepted) -> None:
        session = hosts.session
        super().__init__(group, session.layout, session.paths, session.mesh)
        self.hosts = hosts

    def begin(self, program: Program) -> Running:
        """Start a program where its replica is."""
        # nsenter(1) does not end what it has started when it is ended itself.
        argv = self.hosts.command(
            program.host, "setpriv", "--pdeathsig", "KILL", "--", *program.argv
        )
        inside = msgspec.structs.replace(
            program, argv=tuple(argv), host="", env=program.env | {"PATH": PATH}
        )
        return Inside(inside, self.paths.logs / f"{program.name}.log")

    async def missing(self, running: Running) -> str:
        """What a program that has been started lacks to be ready; empty if nothing."""
        assert isinstance(running, Inside)
        ready = running.program.ready
        if isinstance(ready, Answers):
            replica = running.program.name.removesuffix("-proxy")
            with contextlib.suppress(AssertionError):
                await self.hosts.curl(replica, "-f", ready.url)
                return ""
            return f"no answer from {ready.url}"
        return await readiness.check(ready, running.inside)

    def process(self, name: str) -> int:
        """The process id of a program that can be stopped and started."""
        running = self.running[name]
        assert isinstance(running, Inside)
        return running.inside

    async def take_over(self, names: Iterable[str], settings: Mapping[str, object]) -> None:
        """End all that runs for these replicas, and start it anew as ours, proxies with `settings`."""
        stages = Programs(
            self.layout, self.paths, os.environ, BUS_PORT, DEFAULT_TRUST_DOMAIN
        ).stages()
        programs = {program.name: program for stage in stages for program in stage}
        for name in names:
            for pid in self.hosts.processes(name):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for program in (name, f"{name}-proxy"):
                self.programs[program] = programs[program]
            self.configure(settings, f"{name}-proxy")
        await self.start(*self.programs)


@asynccontextmanager
async def hosted_mesh(
    application: str, workloads: tuple[str, ...], proxies: Mapping[str, object]
) -> AsyncIterator[HostedMesh]:
    """A mesh with real interception; replicas of `workloads` are the test's to stop and start.

    `proxies` are settings of their proxies. The test is skipped where it cannot be had.
    """
    async with intercepted(application) as hosts, anyio.create_task_group() as group:
        mesh = HostedMesh(group, hosts)
        names = [r.name.name for r in mesh.layout.replicas if r.workload.name in workloads]
        try:
            await mesh.take_over(names, proxies)
            yield mesh
        finally:
            with anyio.CancelScope(shield=True):
                for name in reversed(list(mesh.running)):
                    await mesh.kill(name)
