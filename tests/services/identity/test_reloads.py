"""Servers that read their configuration anew make anew all that passes between accounts: nobody notices."""

import os
import signal
from pathlib import Path

import anyio
import pytest

from common.bus import Bus
from common.bus.keys import Key
from common.contract import subjects
from common.contract.events import Event
from common.contract.leaves import LeavesQuestion
from common.errors import BusUnavailable
from tests.support.identity import Mesh, nats
from tests.support.nats import until, until_told

pytestmark = pytest.mark.anyio

RELOADS = 15
READ = "Reloaded server configuration"


async def test_questions_are_answered_and_words_heard_while_a_server_reads_its_configuration(
    tmp_path: Path,
) -> None:
    async with (
        nats(tmp_path) as mesh,
        mesh.identity(),
        mesh.role("destination") as destination,
        mesh.role("operator") as operator,
        anyio.create_task_group() as group,
    ):
        await until_told(lambda: _is_ready(destination))
        heard: list[str] = []
        event = subjects.event("destination", "said")
        await operator.listen(event, lambda _, said: heard.append(said.message))
        answered: list[int] = []
        group.start_soon(_ask, operator, answered)
        group.start_soon(_write, destination, answered)
        for n in range(RELOADS):
            _read_again(mesh)
            await destination.publish(
                event, Event(component="destination", what="said", message=str(n), time=1.0)
            )
            await until(lambda n=n: mesh.server.log_file.read_text().count(READ) > n)  # type: ignore[misc]
            before = len(answered)
            await until(lambda before=before: len(answered) > before + 5)  # type: ignore[misc]
        await until(lambda: len(heard) == RELOADS)
        group.cancel_scope.cancel()

    assert heard == [str(n) for n in range(RELOADS)]


async def _is_ready(bus: Bus) -> bool:
    try:
        return await bus.get(subjects.trust()) is not None
    except BusUnavailable:
        return False


async def _ask(operator: Bus, answered: list[int]) -> None:
    while True:
        await operator.request(subjects.leaves(), LeavesQuestion(), timeout=10)
        answered.append(1)


async def _write(destination: Bus, answered: list[int]) -> None:
    key, revision = Key(destination, subjects.LEASES, "destination"), 0
    while True:
        revision = await key.write("me", expected=revision, ttl=60)
        answered.append(1)


def _read_again(mesh: Mesh) -> None:
    assert mesh.server.pid is not None
    os.kill(mesh.server.pid, signal.SIGHUP)
