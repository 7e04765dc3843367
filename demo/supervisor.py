"""Starts programs, waits until they are ready, and stops them. What has ended stays ended."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import anyio

from common.errors import MeshError
from demo import namespaces, readiness
from demo.messages import Finishes, Program
from demo.strays import die_with_parent

_FIRST_POLL_SECONDS = 0.02
_LAST_POLL_SECONDS = 0.2


class ProgramFailed(MeshError):
    """A program did not come up; `program` is its name, the message says why."""

    reason = "program-failed"

    def __init__(self, program: str, why: str) -> None:
        super().__init__(why)
        self.program = program


class Running:
    """A program that has been started; its output goes to `log`."""

    def __init__(self, program: Program, log: Path) -> None:
        self.program = program
        self.ended = anyio.Event()
        self.status: int | None = None
        self.told_to_end = False
        with log.open("ab") as output:
            try:
                self._process = subprocess.Popen(
                    namespaces.inside(program.host, program.argv),
                    env=program.env,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=die_with_parent(),
                )
            except OSError as error:
                raise ProgramFailed(program.name, f"{error.filename}: {error.strerror}") from None
        self.pid = self._process.pid

    async def watch(self) -> None:
        """Wait until it ends, with all that it started in its process group."""
        descriptor = os.pidfd_open(self.pid)
        try:
            await anyio.wait_readable(descriptor)
        finally:
            os.close(descriptor)
        # Not reaped yet, so nobody else can have this process group's number.
        self.signal(signal.SIGKILL)
        self.status = self._process.wait()
        self.ended.set()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program and whatever it started."""
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)


class Supervisor:
    """Runs programs in stages; `on_end` hears of those that end unasked."""

    def __init__(
        self,
        tasks: anyio.abc.TaskGroup,
        logs: Path,
        on_end: Callable[[Running], None] = lambda running: None,
    ) -> None:
        self._tasks = tasks
        self._logs = logs
        self._on_end = on_end
        self._stages: list[list[Running]] = []

    async def bring_up(self, programs: Iterable[Program], patience: float) -> None:
        """Start a stage and wait until every program of it is ready; raises ProgramFailed."""
        stage: list[Running] = []
        self._stages.append(stage)
        for program in programs:
            running = Running(program, self._logs / f"{program.name}.log")
            stage.append(running)
            self._tasks.start_soon(self._watch, running)
        async with anyio.create_task_group() as waiting:
            for running in stage:
                waiting.start_soon(_until_ready, running, patience)

    async def stop_last(self, grace: float) -> None:
        """Stop the last stage that runs: ask, and after `grace` seconds insist."""
        if self._stages:
            await _stop(self._stages.pop(), grace)

    async def stop(self, grace: float) -> None:
        """Stop every stage, the last first."""
        while self._stages:
            await self.stop_last(grace)

    async def _watch(self, running: Running) -> None:
        await running.watch()
        if not running.told_to_end:
            self._on_end(running)


async def _until_ready(running: Running, patience: float) -> None:
    program = running.program
    missing = "not even asked"
    pause = _FIRST_POLL_SECONDS
    with anyio.move_on_after(patience):
        while running.status is None:
            missing = await readiness.check(program.ready, running.pid)
            if not missing:
                return
            with anyio.move_on_after(pause):
                await running.ended.wait()
            pause = min(pause * 1.5, _LAST_POLL_SECONDS)
        if running.status == 0 and isinstance(program.ready, Finishes):
            return
        raise ProgramFailed(program.name, f"it ended with {describe(running.status)}")
    raise ProgramFailed(program.name, f"not ready after {patience:g} s: {missing}")


async def _stop(stage: list[Running], grace: float) -> None:
    for running in stage:
        running.told_to_end = True
        running.signal(signal.SIGTERM)
    with anyio.move_on_after(grace):
        for running in stage:
            await running.ended.wait()
    for running in stage:
        running.signal(signal.SIGKILL)
    for running in stage:
        await running.ended.wait()


def describe(status: int | None) -> str:
    """An exit status in words."""
    if status is not None and status < 0:
        return f"signal {signal.Signals(-status).name}"
    return f"exit status {status}"
