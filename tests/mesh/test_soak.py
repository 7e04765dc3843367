"""Mixed traffic and rolling restarts for a while: nothing is lost, and nothing grows.

SOAK_SECONDS says for how long; `make soak` takes half an hour.
"""

import os
import sys
import time
from pathlib import Path

import anyio
import pytest

from tests.support import load
from tests.support.rollout import APPLICATION, HTTP_PORT, TCP_PORT, Rollout, lost, rollout
from tests.support.watched import Watched

SECONDS = float(os.environ.get("SOAK_SECONDS", "40"))
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(SECONDS + 150)]

# `steady` and `rock` stay while all else is restarted: what they hold is looked at.
SOAKED = (
    APPLICATION
    + f"""
  - {{name: steady, command: [sleep, "100000"]}}
  - name: rock
    command: ["{{python}}", "-P", "-m", "tests.support.steadfast", "{{address}}", "{HTTP_PORT}", "{TCP_PORT}"]
    ports: [{HTTP_PORT}, {{port: {TCP_PORT}, protocol: tulle.dev/opaque}}]
"""
)
LONG_LIVED = ("steady-1-proxy", "rock-1-proxy")
MOST_BYTES = 1.5 * 1024 * 1024
"""What a proxy may hold more in the last third of its time than in the second: arenas settle slowly."""
MOST_DESCRIPTORS = 8
"""More connections happen to be open at one time than at another."""


async def restart_all(web: Rollout, seconds: float) -> int:
    """Restart everything, over and over; returns how often."""
    rounds, ends = 0, time.monotonic() + seconds
    while time.monotonic() < ends:
        await web.replace_all()
        for name in (*sorted(web.ready), "client-1"):
            if time.monotonic() < ends:
                await web.restart(name)
        rounds += 1
    return rounds


async def test_nothing_is_lost_and_nothing_grows(tmp_path: Path) -> None:
    async with rollout(tmp_path, SOAKED) as web, anyio.create_task_group() as group:
        watched = Watched(lambda: {name: one.pid for name, one in web.mesh.running.items()})
        loads = [
            *web.traffic(via="steady-1"),
            *web.traffic(via="steady-1", to="rock"),
            *web.traffic(via="client-1"),
        ]
        group.start_soon(watched.run)
        async with load.running(*loads):
            rounds = await restart_all(web, SECONDS)
        group.cancel_scope.cancel()

    grown = {name: watched.growth(name) for name in (*LONG_LIVED, "destination", "telemetry")}
    lines = [f"{rounds} rounds", *map(repr, loads), *(f"{n}: {g}" for n, g in grown.items())]
    sys.stdout.write("\n".join(lines) + "\n")
    assert lost(loads) == {}
    for name in LONG_LIVED:
        assert grown[name].resident < MOST_BYTES, grown[name]
        assert grown[name].descriptors <= MOST_DESCRIPTORS, grown[name]
