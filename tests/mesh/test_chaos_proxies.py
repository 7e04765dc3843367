"""Proxies, applications and the bus that die without a word: what callers see, and that all is well again."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import anyio
import pytest

from proxy.control.kept import FILE
from tests.support.bad_clients import Answer, ask, head, line, tunnel
from tests.support.chaos import (
    BAD,
    BAD_URL,
    CLIENT,
    GOOD_URL,
    PATIENCE_SECONDS,
    application,
    calm,
    until_seen,
)
from tests.support.mesh import Load, RunningMesh, running_mesh
from tests.support.nats import until

pytestmark = pytest.mark.anyio
NATS = "nats-server"


@pytest.fixture(scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningMesh]:
    async with running_mesh(
        tmp_path_factory.mktemp("mesh"), application(good=2, rude=False)
    ) as running:
        for url in (GOOD_URL, f"{BAD_URL}/ok/1"):
            assert (await ask(running.proxy_url(CLIENT), url)).status == 200
        for name, subject in (
            (CLIENT, "endpoints.shop.good"),
            (CLIENT, "endpoints.shop.bad"),
            (BAD, "workload.shop.bad-1"),
        ):
            kept = running.paths.state(running.replica(name)) / FILE
            await until(partial(_holds, kept, subject), 10)
        yield running


def _holds(kept: Path, text: str) -> bool:
    return kept.exists() and text in kept.read_text()


async def until_answered(mesh: RunningMesh, url: str) -> None:
    """Wait until a request is answered as it should be."""
    answer = Answer()
    with anyio.move_on_after(PATIENCE_SECONDS):
        while answer.status != 200:
            try:
                answer = await ask(mesh.proxy_url(CLIENT), url)
            except OSError as error:
                answer = Answer(broken=repr(error))
        return
    raise AssertionError(f"{url}: {answer}")


@pytest.mark.parametrize("bus", ["there", "gone"])
async def test_the_servers_proxy_dies_in_the_middle(mesh: RunningMesh, bus: str) -> None:
    """Who has heard nothing is told why; who has heard a part sees that it is not the whole."""
    before = await calm(mesh, CLIENT)
    if bus == "gone":
        await mesh.kill(NATS)
    proxy = mesh.proxy_url(CLIENT)
    load = Load(proxy, GOOD_URL)
    async with load.running(), line(proxy) as waiting, line(proxy) as begun:
        await waiting.say(head(f"{BAD_URL}/never", "POST", "content-length: 0"))
        await begun.say(head(f"{BAD_URL}/forever"))
        await begun.reader.readuntil(b"one\r\n")
        await until_seen(mesh, BAD, held=2)
        await mesh.kill(f"{BAD}-proxy")
        with anyio.fail_after(PATIENCE_SECONDS):
            answer = await waiting.answer()
            assert (answer.status, answer.error) == (502, "response-lost")
            with pytest.raises(ConnectionResetError):
                await begun.reader.readexactly(1)
        await until_seen(mesh, BAD, held=0)
        refused = await ask(proxy, f"{BAD_URL}/ok/1")
        assert (refused.status, refused.error) == (502, "connect-failed")

        await mesh.start(f"{BAD}-proxy")
        await until_answered(mesh, f"{BAD_URL}/ok/1")
        await load.wait_for(20)
    assert load.failures == []
    if bus == "gone":
        await mesh.start(NATS)
    await calm(mesh, CLIENT, before)


@pytest.mark.parametrize("bus", ["there", "gone"])
async def test_the_clients_proxy_dies_in_the_middle(mesh: RunningMesh, bus: str) -> None:
    if bus == "gone":
        await mesh.kill(NATS)
    proxy = mesh.proxy_url(CLIENT)
    async with line(proxy) as waiting, line(proxy) as begun:
        await waiting.say(head(f"{BAD_URL}/never"))
        await begun.say(head(f"{BAD_URL}/forever"))
        await begun.reader.readuntil(b"one\r\n")
        await until_seen(mesh, BAD, held=2)
        await mesh.kill(f"{CLIENT}-proxy")
        with anyio.fail_after(PATIENCE_SECONDS):
            for client in (waiting, begun):
                assert not (await client.answer()).whole
    await until_seen(mesh, BAD, held=0)

    await mesh.start(f"{CLIENT}-proxy")
    for url in (GOOD_URL, f"{BAD_URL}/ok/1"):
        await until_answered(mesh, url)
    if bus == "gone":
        await mesh.start(NATS)


@pytest.mark.parametrize("name", ["good-2", "good-2-proxy"])
async def test_one_of_two_replicas_refuses_connections_and_nobody_notices(
    mesh: RunningMesh, name: str
) -> None:
    proxy = mesh.proxy_url(CLIENT)
    await mesh.kill(name)
    load = Load(proxy, GOOD_URL)
    async with load.running():
        await load.wait_for(100)
        posted = [await ask(proxy, GOOD_URL, "POST", body=b"x" * 10_000) for _ in range(20)]
        if name == "good-2-proxy":
            for _ in range(20):
                async with tunnel(proxy, "good:8000") as made:
                    await made.say(b"GET / HTTP/1.1\r\nhost: good\r\n\r\n")
                    assert (await made.answer()).status == 200
        await mesh.start(name)
        await load.wait_for(100)

    assert load.failures == []
    assert {answer.status for answer in posted} == {200}
