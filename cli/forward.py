"""A way to a port in a cluster: `kubectl port-forward`, for as long as it is wanted."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import anyio
from anyio.abc import TaskStatus

from cli.cluster import Cluster
from common.errors import InvalidSettings, KubernetesUnavailable
from common.nats_server import die_with

_FORWARDING = re.compile(rb"Forwarding from (?:127\.0\.0\.1|\[::1\]):(\d+) ")
_START_SECONDS = 20.0
_AGAIN_SECONDS = 1.0
_END_SECONDS = 2.0


@asynccontextmanager
async def forwarded(cluster: Cluster, target: str, port: int) -> AsyncIterator[int]:
    """A port of loopback that leads to `port` of `target`, such as `service/tulle-nats`.

    If the way is lost, as when the pod behind it is replaced, it is made anew on the same port. Raises
    InvalidSettings if there is no kubectl, KubernetesUnavailable if it cannot.
    """
    async with anyio.create_task_group() as group:
        forward = _Forward(cluster, target, port)
        yield await group.start(forward.run)
        group.cancel_scope.cancel()


class _Forward:
    def __init__(self, cluster: Cluster, target: str, port: int) -> None:
        self._cluster = cluster
        self._target = target
        self._port = port
        self._local = 0
        self._said = "it said nothing"

    async def run(self, *, task_status: TaskStatus[int]) -> None:
        """Keep it for ever; started when it first leads somewhere."""

        def leads(local: int) -> None:
            first, self._local = not self._local, local
            if first:
                task_status.started(local)

        while True:
            with anyio.move_on_after(None if self._local else _START_SECONDS) as patience:
                await self._once(leads, patience)
            if not self._local:
                raise KubernetesUnavailable(
                    f"{self._cluster}: kubectl port-forward {self._target}: {self._said}"
                )
            await anyio.sleep(_AGAIN_SECONDS)

    async def _once(self, leads: Callable[[int], None], patience: anyio.CancelScope) -> None:
        """From the start of kubectl to its end."""
        process = await self._started()
        assert process.stdout is not None
        try:
            async for line in process.stdout:
                if match := _FORWARDING.match(line):
                    patience.deadline = float("inf")
                    leads(int(match[1]))
                elif line.strip():
                    self._said = line.decode(errors="replace").strip()
        finally:
            with anyio.CancelScope(shield=True):
                await _ended(process)

    async def _started(self) -> Process:
        words = self._cluster.kubectl(
            "port-forward", "--address=127.0.0.1", self._target, f"{self._local or ''}:{self._port}"
        )
        try:
            # Ctrl-C is ours to hear, and who kills us means it as well.
            return await asyncio.create_subprocess_exec(
                *words,
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=STDOUT,
                start_new_session=True,
                preexec_fn=die_with(os.getpid()) if sys.platform == "linux" else None,
            )
        except FileNotFoundError:
            raise InvalidSettings(
                "kubectl: not found on PATH; expected it, to reach NATS in the cluster, or --bus URL"
            ) from None


async def _ended(process: Process) -> None:
    for end in (process.terminate, process.kill):
        with suppress(ProcessLookupError):
            end()
        with anyio.move_on_after(_END_SECONDS):
            await process.wait()
            return
