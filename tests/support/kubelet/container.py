"""A container's life: started, probed, restarted, ended."""

import contextlib
import signal
import subprocess
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import Process

from common.clock import SystemClock
from tests.support.kubelet import probes
from tests.support.kubelet.box import Box
from tests.support.kubelet.boxes import spawn
from tests.support.kubelet.objects import NotYetError

FIRST_BACKOFF, MOST_BACKOFF = 0.5, 5.0
"""Seconds until a container that ended is run again; a kubelet begins with ten."""
EAGER = 0.4
"""A probe that has not passed yet is repeated within so many seconds: a kubelet would be less impatient."""
GRACE = 30.0
"""Seconds that a container has to end when it fails a probe."""
_clock = SystemClock()


def now() -> str:
    """The time, as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Container:
    """One container of a pod.

    `prepare` makes its box, each time that it starts; `changed` is called when its state changes.
    """

    def __init__(
        self,
        spec: dict[str, Any],
        netns: str,
        address: str,
        log: Path,
        *,
        prepare: Callable[[], Awaitable[Box]],
        changed: Callable[[], None],
    ) -> None:
        self.spec = spec
        self.name: str = spec["name"]
        self.log = log
        self._netns = netns
        self._address = address
        self._prepare = prepare
        self._changed = changed
        self._process: Process | None = None
        self._box: Box | None = None
        self._stopping = False
        self.waiting = "PodInitializing"
        """Why it does not run; empty if it does, or has ended for good."""
        self.message = ""
        self.code: int | None = None
        """How it ended the last time."""
        self.began = ""
        self.restarts = 0
        self.running = False
        self.started = False
        self.ready = False
        self.up = anyio.Event()
        """It has started, its startup probe has passed, and its first hook is done."""

    async def run(self, again: Callable[[int], bool]) -> None:
        """Run it for as long as `again` says so of its exit status."""
        backoff = FIRST_BACKOFF
        while not self._stopping:
            began = _clock.monotonic()
            await self._once()
            self._set(running=False, started=False, ready=False)
            if self._stopping or (self.code is not None and not again(self.code)):
                return
            self._set(waiting="CrashLoopBackOff" if self.code else "ContainerCreating")
            backoff = FIRST_BACKOFF if _clock.monotonic() - began > 10 else backoff
            await anyio.sleep(backoff)
            backoff = min(2 * backoff, MOST_BACKOFF)
            self.restarts += self.code is not None

    async def stop(self, grace: float) -> None:
        """Let it end: its hook, SIGTERM, and SIGKILL when its time is over."""
        self._stopping = True
        self.ready = False
        hook = self.spec.get("lifecycle", {}).get("preStop", {})
        if self.running:
            with anyio.move_on_after(grace):
                await self._hook(hook)
        await self._end(grace)

    async def execute(self, command: list[str]) -> bool:
        """Run a command where the container is; whether it ended well."""
        if self._process is None or self._box is None:
            return False
        enter = ["nsenter", "-t", str(self._process.pid), "-m", "-n", "-r", "-w", "--"]
        done = await anyio.run_process(
            [*enter, *self._box.rights, "--", *command],
            env=self._box.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        return done.returncode == 0

    async def _once(self) -> None:
        """Run it to its end; `code` is None if it did not start."""
        self.code = None
        try:
            box = self._box = await self._prepare()
        except NotYetError as error:
            self._set(waiting="CreateContainerConfigError", message=str(error))
            return
        process = self._process = await spawn(box, self._netns, self.log)
        self._set(waiting="", message="", running=True, began=now())
        async with anyio.create_task_group() as group:
            group.start_soon(self._look)
            # What a signal ended is told as a shell does.
            code = await process.wait()
            self.code = code if code >= 0 else 128 - code
            group.cancel_scope.cancel()
        await process.aclose()
        self._process = None

    async def _look(self) -> None:
        """Start-up hook and probes, while it runs."""
        started = await self._hook(self.spec.get("lifecycle", {}).get("postStart", {}))
        if not (started and await self._starts_up()):
            await self._end(GRACE)
            return
        self._set(started=True)
        self.up.set()
        async with anyio.create_task_group() as group:
            group.start_soon(self._readiness)
            await self._dies()
            group.cancel_scope.cancel()
        await self._end(GRACE)

    async def _readiness(self) -> None:
        probe = self.spec.get("readinessProbe")
        if probe is None:
            self._set(ready=not self._stopping)
            return
        failures, period = 0, probe.get("periodSeconds", 10)
        await anyio.sleep(min(probe.get("initialDelaySeconds", 0), EAGER))
        while not self._stopping:
            passed = await self._passes(probe)
            failures = 0 if passed else failures + 1
            if (passed or failures >= probe.get("failureThreshold", 3)) and not self._stopping:
                self._set(ready=passed)
            await anyio.sleep(period if self.ready else min(period, EAGER))

    async def _starts_up(self) -> bool:
        """Probe until it has started, or its time for that is over; whether it has."""
        probe = self.spec.get("startupProbe")
        if probe is None:
            return True
        period = probe.get("periodSeconds", 10)
        await anyio.sleep(min(probe.get("initialDelaySeconds", 0), EAGER))
        with anyio.move_on_after(period * probe.get("failureThreshold", 3)):
            while True:
                if await self._passes(probe):
                    return True
                await anyio.sleep(min(period, EAGER))
        return False

    async def _dies(self) -> None:
        """Probe until it has failed too often to be alive."""
        probe = self.spec.get("livenessProbe")
        if probe is None:
            await anyio.sleep_forever()
            raise AssertionError("never")
        failures = 0
        await anyio.sleep(probe.get("initialDelaySeconds", 0))
        while failures < probe.get("failureThreshold", 3):
            failures = 0 if await self._passes(probe) else failures + 1
            await anyio.sleep(probe.get("periodSeconds", 10))

    async def _passes(self, probe: dict[str, Any]) -> bool:
        ports = {p["name"]: p["containerPort"] for p in self.spec.get("ports", ()) if "name" in p}
        return await probes.passes(probe, self._address, ports, self.execute)

    async def _hook(self, hook: dict[str, Any]) -> bool:
        if command := hook.get("exec"):
            return await self.execute(command["command"])
        if pause := hook.get("sleep"):
            await anyio.sleep(pause["seconds"])
        return True

    async def _end(self, grace: float) -> None:
        """SIGTERM, and SIGKILL when its time is over."""
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
            with anyio.move_on_after(grace):
                await process.wait()
                return
            process.kill()

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            setattr(self, name, value)
        self._changed()
