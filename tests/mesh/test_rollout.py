"""Proxies that are restarted where they are: who is told of it when, and what becomes of what they carried.

That nothing is lost meanwhile is for tests/hosts/test_rollout.py.
"""

from collections.abc import AsyncIterator

import anyio
import pytest

from tests.support.load import Http
from tests.support.nats import until
from tests.support.rollout import GRACE_SECONDS, HTTP_PORT, Rollout, rollout

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def web(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rollout]:
    async with rollout(tmp_path_factory.mktemp("mesh")) as made:
        yield made


async def test_an_endpoint_is_withdrawn_at_once_and_used_again_when_it_is_ready(
    web: Rollout,
) -> None:
    web.withdrawn.clear()
    for name in sorted(web.ready):
        await web.restart(name)

    # The debounce is 10 ms; the rest is for a machine that does other things.
    assert len(web.withdrawn) == 2
    assert min(web.withdrawn) < 0.1
    assert max(web.withdrawn) < 0.5


async def test_the_final_report_holds_all_that_was_finished_while_leaving(web: Rollout) -> None:
    """By way of a replica's own proxy, which no other test sends through."""
    sender = min(web.ready)
    slow = Http(web.target(HTTP_PORT, via=sender), query="?sleep=1.5", connections=5)
    async with slow.running():
        await until(lambda: slow.begun == 5)
        await web.end(f"{sender}-proxy")
    await web.mesh.start(f"{sender}-proxy")

    assert slow.lost == []
    assert slow.answered >= 5
    edge = await web.mesh.edge("web", "web", requests=slow.answered)
    assert edge.figures.requests == slow.answered


async def test_what_outlasts_the_grace_period_is_told_so(web: Rollout) -> None:
    web.mesh.configure({"shutdown_grace_seconds": 1}, "client-1-proxy")
    await web.restart("client-1")
    endless = Http(web.target(HTTP_PORT), query="?sleep=10", connections=1)
    async with endless.running():
        await until(lambda: endless.begun == 1)
        with anyio.fail_after(4):
            await web.end("client-1-proxy")
    web.mesh.configure({"shutdown_grace_seconds": GRACE_SECONDS}, "client-1-proxy")
    await web.mesh.start("client-1-proxy")

    assert endless.lost == ["0: http/1.1 503 service unavailable shut-down"]
