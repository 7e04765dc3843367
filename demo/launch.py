"""The launcher's side: starts the inner side, gives it orders, hears its events, and ends it.

Whatever happens to the launcher, the inner side notices at the end of its standard input and cleans up;
whatever happens to the inner side, the launcher cleans up when it leaves.
"""

import contextlib
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
from anyio.abc import Process

from common.errors import MeshError
from demo.messages import Bring, Event, Failed, Order, Stage, Stop, Stopped, Up, line
from demo.messages import events as decoder
from demo.namespaces import ENTER
from demo.programs import PYTHON, Paths

STOP_SECONDS = 20.0
_TAIL_LINES = 15


class LaunchFailed(MeshError):
    """The demo did not come up; the message names the program, why, and what it said last."""

    reason = "launch-failed"


class InnerSide:
    """The process under which all others run. Use as `async with`; leaving stops and removes everything."""

    def __init__(self, paths: Paths, *, transparent: bool, fds: Sequence[int] = ()) -> None:
        self._paths = paths
        self._enter = ENTER if transparent else ()
        self._fds = tuple(fds)
        self._process: Process | None = None
        self._pending = b""

    async def __aenter__(self) -> Self:
        self._paths.logs.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = await anyio.open_process(
                [*self._enter, *PYTHON, "demo.inner", str(self._paths.root)],
                stderr=log,
                # Ctrl-C on a terminal reaches the launcher alone, which then ends everything in order.
                start_new_session=True,
                pass_fds=self._fds,
            )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        process = self._running
        with anyio.CancelScope(shield=True):
            if process.stdin:
                with contextlib.suppress(anyio.BrokenResourceError):
                    await process.stdin.aclose()
            with anyio.move_on_after(STOP_SECONDS):
                await process.wait()
            if process.returncode is None:
                process.kill()
            await process.aclose()
            shutil.rmtree(self._paths.root, ignore_errors=True)

    @property
    def pid(self) -> int:
        """The process id of the inner side, or of unshare(1) around it."""
        return self._running.pid

    async def bring_up(self, order: Bring, on_stage: Callable[[Stage], None]) -> None:
        """Have everything started; raises LaunchFailed."""
        await self._tell(order)
        async for event in self.events():
            match event:
                case Up():
                    return
                case Stage():
                    on_stage(event)
                case Failed(program, why):
                    raise LaunchFailed(self._explain(program, why))
        raise LaunchFailed(self._explain("inner", "the process that starts all others has ended"))

    async def stop(self, *, everything: bool) -> None:
        """Stop everything, or the programs that only send, and wait until they have ended."""
        await self._tell(Stop(everything))
        async for event in self.events():
            if isinstance(event, Stopped):
                return

    async def events(self) -> AsyncIterator[Event]:
        """What the inner side says, until it ends."""
        stream = self._running.stdout
        while stream is not None:
            whole, newline, rest = self._pending.partition(b"\n")
            if newline:
                self._pending = rest
                yield decoder.decode(whole)
                continue
            try:
                self._pending += await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return

    @property
    def _running(self) -> Process:
        if self._process is None:
            raise RuntimeError("InnerSide is used outside of its context")
        return self._process

    @property
    def _log(self) -> Path:
        return self._paths.logs / "inner.log"

    async def _tell(self, order: Order) -> None:
        if self._running.stdin:
            with contextlib.suppress(anyio.BrokenResourceError):
                await self._running.stdin.send(line(order))

    def _explain(self, program: str, why: str) -> str:
        """What a person needs to see why a program did not come up."""
        log = self._paths.logs / f"{program}.log"
        try:
            said = log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        except OSError:
            said = []
        lines = [f"{program} did not come up: {why}"]
        lines += [f"    {text}" for text in said or ["(it said nothing)"]]
        return "\n".join(lines)
