"""Traffic of every protocol and rolling restarts for a while: nothing is lost, and nothing grows.

SOAK_SECONDS says for how long; `make soak` takes half an hour. What it prints is told in docs/operating.md.
"""

import os
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest

from tests.support.hosted_rollout import HostedRollout, hosted_rollout
from tests.support.watched import Watched

SECONDS = float(os.environ.get("SOAK_SECONDS", "20"))
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(SECONDS + 150)]

# `steady` and `rock` stay while all else is restarted: what their proxies hold is looked at.
TRAFFIC = (("steady-1", "web"), ("steady-1", "rock"), ("client-1", "web"))
LONG_LIVED = ("steady-1-proxy", "rock-1-proxy")
SERVICES = ("destination", "telemetry")
PACE = 5.0
"""Pauses between requests, longer than usual: that much leaves some of two cores to others."""
MOST_BYTES = 1.5 * 1024 * 1024
"""What a proxy may hold more in the last third of its time than in the second: arenas settle slowly."""
MOST_DESCRIPTORS = 8
"""More connections happen to be open at one time than at another."""


async def restart_all(web: HostedRollout, seconds: float) -> int:
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
    clients, rocks = ("client", "steady"), ("rock",)
    async with hosted_rollout(tmp_path, clients, rocks) as web, anyio.create_task_group() as group:
        hosts = web.mesh.hosts
        processes = {name: hosts.service(name) for name in SERVICES}
        processes |= {name: web.mesh.process(name) for name in LONG_LIVED}
        watched = Watched(lambda: processes)
        group.start_soon(watched.run)
        async with AsyncExitStack() as sending:
            sent = [
                await sending.enter_async_context(web.steady(via, to, PACE)) for via, to in TRAFFIC
            ]
            rounds = await restart_all(web, SECONDS)
        group.cancel_scope.cancel()

    grown = {name: watched.growth(name) for name in (*LONG_LIVED, *SERVICES)}
    lines = [f"{rounds} rounds", *(f"{name}: {growth}" for name, growth in grown.items())]
    sys.stdout.write("\n".join(lines) + "\n")
    assert [one.lost for one in sent] == [{}, {}, {}]
    assert all(tally.answered for one in sent for tally in one.tallies)
    for name in LONG_LIVED:
        assert grown[name].resident < MOST_BYTES, grown[name]
        assert grown[name].descriptors <= MOST_DESCRIPTORS, grown[name]
