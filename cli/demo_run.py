"""How `tulle demo` runs: brings the mesh up, shows it, ends it in order, says how it was."""

import shutil
import signal
import tempfile
from pathlib import Path

import anyio
import click
import msgspec
from rich.console import Console, RenderableType
from rich.live import Live

from cli import mesh
from common.bus import Bus
from common.clock import SystemClock
from common.config import environment
from common.contract.telemetry import EdgeRow
from common.errors import BusUnavailable
from demo import figures, table
from demo.launch import LaunchFailed
from demo.layout import Mode
from demo.messages import Ended, Stage
from demo.observer import LIVE_SECONDS, Observer
from demo.plan import Application
from demo.programs import Paths
from demo.rotation import Rotated, rotate
from demo.session import Session, started
from demo.supervisor import describe

_ROTATE_SECONDS = 10.0
"""When to rotate in a run that has no end of its own."""
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line said."""

    application: Application
    mode: Mode
    seconds: float | None
    as_json: bool
    rotate: bool
    logs: Path | None


def run(options: Options) -> int:
    """Run the demo; the exit status."""
    return mesh.run(Demo(options).run)


class Demo:
    """One run."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._up = False
        self._signal = 0
        self._enough = anyio.Event()
        self._broken = False
        self._logs: Path | None = None
        self._rotated: Rotated | None = None
        self._errors = 0

    async def run(self) -> int:
        """Start, show, stop; the exit status."""
        status = 1
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._await_signal, tasks.cancel_scope)
            try:
                status = await self._run()
            except LaunchFailed as error:
                self._say(f"tulle demo: {error}\nall logs are in {self._logs}")
            tasks.cancel_scope.cancel()
        return 128 + self._signal if self._interrupted else status

    @property
    def _interrupted(self) -> bool:
        """Ctrl-C is the ordinary end of a demo that has no other; anything else cuts it short."""
        ordinary = self._signal == signal.SIGINT and self._up and self._options.seconds is None
        return bool(self._signal) and not ordinary

    async def _await_signal(self, everything: anyio.CancelScope) -> None:
        with anyio.open_signal_receiver(*ENDINGS) as signals:
            async for number in signals:
                impatient, self._signal = bool(self._signal), self._signal or number
                self._enough.set()
                if impatient or self._interrupted:
                    everything.cancel()

    async def _run(self) -> int:
        options = self._options
        async with started(
            options.application,
            options.mode,
            environment(),
            on_stage=self._stage,
            keep_logs=self._keep_logs,
        ) as session:
            self._up = True
            return await self._watch(session)

    async def _watch(self, session: Session) -> int:
        """Show the mesh until it is enough; then stop the traffic and sum up."""
        began = SystemClock.monotonic()
        async with mesh.operator_bus(session.mesh, self._say) as bus:
            observer = Observer(bus, session.layout)
            await observer.start()
            click.echo(table.heading(session), err=self._options.as_json)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._tell_of_ends, session)
                async with anyio.create_task_group() as run:
                    if self._options.rotate:
                        run.start_soon(self._rotate, bus, observer)
                    with anyio.move_on_after(self._options.seconds):
                        await self._show(session, observer)
                    if self._enough.is_set():
                        run.cancel_scope.cancel()
                tasks.cancel_scope.cancel()
            if self._broken:
                return 1
            self._say("stopping")
            seconds = SystemClock.monotonic() - began
            await session.inner.stop(everything=False)
            rows = await observer.settled(SystemClock.monotonic() - began + 60)
            rows = figures.ordered(session.layout, rows)
            self._judge(observer.errors)
        return self._sum_up(session, rows, seconds)

    async def _show(self, session: Session, observer: Observer) -> None:
        console = Console()
        if self._options.as_json or not console.is_terminal:
            await self._enough.wait()
            return
        title = f"the last {LIVE_SECONDS:.0f} seconds (Ctrl-C ends)"
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while not self._enough.is_set():
                try:
                    rows = await observer.edges(LIVE_SECONDS)
                except BusUnavailable as error:
                    self._say(f"telemetry does not answer: {error}")
                else:
                    rows = figures.ordered(session.layout, rows)
                    live.update(self._table(rows, console.width, title), refresh=True)
                with anyio.move_on_after(1.0):
                    await self._enough.wait()

    async def _rotate(self, bus: Bus, observer: Observer) -> None:
        """Halfway through the run; it lasts until that is done."""
        halfway = (self._options.seconds or 2 * _ROTATE_SECONDS) / 2
        with anyio.move_on_after(halfway):
            await self._enough.wait()
            return
        self._say("rotating the trust anchor")
        self._errors = observer.errors
        self._rotated = await rotate(bus)
        if self._rotated.completed:
            self._say(
                f"rotated: {self._rotated.acknowledged} workloads and services have the new one"
            )

    def _judge(self, errors: int) -> None:
        """Count what failed since the rotation began."""
        if self._options.rotate:
            rotated = self._rotated or Rotated(completed=False, acknowledged=0, why="not begun")
            failed = max(0, errors - self._errors)
            self._rotated = msgspec.structs.replace(rotated, failed_requests=failed)

    async def _tell_of_ends(self, session: Session) -> None:
        async for event in session.inner.events():
            if isinstance(event, Ended):
                self._say(f"{event.program} ended with {describe(event.status)}")
        self._say("tulle demo: the process under which all others run has ended")
        self._broken = True
        self._enough.set()

    def _sum_up(self, session: Session, rows: tuple[EdgeRow, ...], seconds: float) -> int:
        rows = figures.over(seconds, rows)
        document = figures.document(session.layout, rows, self._rotated)
        if self._options.as_json:
            encoded = msgspec.json.format(msgspec.json.encode(document), indent=2)
            click.echo(encoded.decode())
        else:
            console = Console()
            title = f"the whole run: {seconds:.0f} seconds"
            console.print(self._table(rows, console.width, title))
        for problem in figures.problems(session.layout, rows, self._rotated):
            self._say(f"not as it should be: {problem}")
        if document.ok:
            self._say(
                "all is well: every edge carried traffic, with mutual TLS wherever both ends are meshed"
            )
        return 0 if document.ok else 1

    def _table(self, rows: tuple[EdgeRow, ...], width: int, title: str) -> RenderableType:
        return table.edges(rows, width=width, title=title, about=self._options.application.about)

    def _stage(self, stage: Stage) -> None:
        if names := table.starting(stage.programs):
            self._say(f"starting {names}")

    def _keep_logs(self, paths: Paths) -> None:
        """Where the user wants them; if nothing came up, in any case."""
        target = self._options.logs
        if target is None and not self._up and not self._signal:
            target = Path(tempfile.mkdtemp(prefix="tulle-demo-logs-"))
        if target is not None:
            shutil.copytree(paths.logs, target, dirs_exist_ok=True)
            self._logs = target

    def _say(self, text: str) -> None:
        click.echo(text, err=True)
