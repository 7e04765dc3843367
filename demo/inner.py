"""`python -m demo.inner DIRECTORY`: the inner side of the demo, under which every process runs.

It takes orders on standard input and tells events on standard output (see messages.py). When standard
input ends, the launcher has gone: everything is stopped, DIRECTORY is removed, and this process ends.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
from anyio.abc import TaskGroup

from demo import relay
from demo.messages import (
    Bring,
    Ended,
    Event,
    Failed,
    Order,
    Stage,
    Step,
    Stop,
    Stopped,
    Up,
    line,
    orders,
)
from demo.strays import adopt, bury
from demo.supervisor import ProgramFailed, Running, Supervisor

_STDIN, _STDOUT = 0, 1


class Inner:
    """Obeys one launcher."""

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._supervisor: Supervisor | None = None
        self._grace = 0.0
        self._up = False

    async def obey(self, order: Order) -> None:
        """Carry out one order; what goes wrong is told as an event."""
        match order:
            case Bring():
                await self._bring_up(order)
            case Stop(everything):
                if self._supervisor and not everything:
                    await self._supervisor.stop_last(self._grace)
                else:
                    await self.stop()
                tell(Stopped())

    async def stop(self) -> None:
        """Stop everything."""
        self._up = False
        if self._supervisor:
            await self._supervisor.stop(self._grace)

    async def _bring_up(self, order: Bring) -> None:
        self._grace = order.grace
        self._supervisor = Supervisor(self._tasks, Path(order.logs), self._ended)
        try:
            for step in order.network:
                await _run(step)
            for wanted in order.relays:
                self._tasks.start_soon(relay.run, wanted)
            for stage in order.stages:
                tell(Stage(tuple(program.name for program in stage)))
                await self._supervisor.bring_up(stage, order.patience)
        except* ProgramFailed as failures:
            first = failures.exceptions[0]
            while isinstance(first, BaseExceptionGroup):
                first = first.exceptions[0]
            assert isinstance(first, ProgramFailed)
            tell(Failed(first.program, str(first)))
        else:
            self._up = True
            tell(Up())

    def _ended(self, running: Running) -> None:
        if self._up:
            tell(Ended(running.program.name, running.status or 0))


async def _run(step: Step) -> None:
    done = await anyio.run_process(
        step.argv, input=step.text.encode(), check=False, stderr=subprocess.STDOUT
    )
    if done.returncode:
        said = " ".join(done.stdout.decode(errors="replace").split())
        raise ProgramFailed("network", f"`{' '.join(step.argv)}` failed: {said}")


def tell(event: Event) -> None:
    """Say something to the launcher, if it is still there."""
    with contextlib.suppress(OSError):
        os.write(_STDOUT, line(event))


async def hear() -> AsyncIterator[Order]:
    """The launcher's orders, until it goes."""
    pending = b""
    while True:
        await anyio.wait_readable(_STDIN)
        data = os.read(_STDIN, 65536)
        if not data:
            return
        *whole, pending = (pending + data).split(b"\n")
        for order in whole:
            yield orders.decode(order)


async def main(directory: Path) -> None:
    """Live as long as the launcher does."""
    async with anyio.create_task_group() as tasks:
        inner = Inner(tasks)

        async def obey_all() -> None:
            async for order in hear():
                bringing.start_soon(inner.obey, order)
            bringing.cancel_scope.cancel()

        try:
            async with anyio.create_task_group() as bringing:
                bringing.start_soon(obey_all)
        finally:
            with anyio.CancelScope(shield=True):
                await inner.stop()
                shutil.rmtree(directory, ignore_errors=True)
            tasks.cancel_scope.cancel()


if __name__ == "__main__":
    adopt()
    try:
        anyio.run(main, Path(sys.argv[1]), backend_options={"use_uvloop": True})
    finally:
        bury()
