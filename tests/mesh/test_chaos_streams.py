"""Opaque connections whose ends misbehave: what the other end may see, and that nobody else notices."""

from collections.abc import AsyncIterator

import anyio
import pytest

from tests.support.bad_clients import Line, tunnel
from tests.support.chaos import (
    CLIENT,
    PATIENCE_SECONDS,
    RUDE,
    application,
    resident_bytes,
    seen,
    tell,
    undisturbed,
    until_buffered,
    until_seen,
    until_stuck,
)
from tests.support.mesh import RunningMesh, running_mesh

pytestmark = pytest.mark.anyio
MUCH = 100_000_000
SLACK = 30_000_000
ALONE = dict.fromkeys(("source", "echo", "end", "reset", "hold", "stubborn"), 0)
"""What the application has seen when nobody is connected to it."""


@pytest.fixture(scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningMesh]:
    async with running_mesh(tmp_path_factory.mktemp("mesh"), application()) as running:
        yield running


@pytest.fixture
async def rude(mesh: RunningMesh) -> AsyncIterator[Line]:
    """A tunnel to the rude application, while nobody else is disturbed and nothing is left behind."""
    async with undisturbed(mesh):
        async with tunnel(mesh.proxy_url(CLIENT), "rude:7000") as made:
            with anyio.fail_after(PATIENCE_SECONDS):
                yield made
        await until_seen(mesh, RUDE, **ALONE)


async def test_a_client_that_has_said_all_still_hears_the_rest(rude: Line) -> None:
    await rude.say(b"echo\n", b"x" * 1_000_000)
    rude.writer.write_eof()

    assert await rude.rest() == b"x" * 1_000_000 + b"bye"


async def test_a_server_that_has_said_all_still_hears_the_rest(
    mesh: RunningMesh, rude: Line
) -> None:
    before = (await seen(mesh, RUDE)).get("after_end", 0)
    await rude.say(b"end\n")
    assert await rude.rest() == b"over"
    await rude.say(b"x" * 1_000_000)
    rude.writer.write_eof()
    await until_seen(mesh, RUDE, **ALONE)

    assert (await seen(mesh, RUDE))["after_end"] - before == 1_000_000


async def test_a_client_that_resets_is_gone_at_the_server_too(
    mesh: RunningMesh, rude: Line
) -> None:
    await rude.say(b"hold\n")
    await until_seen(mesh, RUDE, hold=1)
    rude.reset()

    await until_seen(mesh, RUDE, **ALONE)


async def test_a_server_that_resets_is_not_taken_for_one_that_has_said_all(rude: Line) -> None:
    await rude.say(b"reset\n")

    with pytest.raises(ConnectionResetError):
        assert await rude.reader.readexactly(1000)


async def test_a_client_that_never_reads_costs_little(mesh: RunningMesh) -> None:
    async with undisturbed(mesh):
        before = {name: resident_bytes(mesh, name) for name in (CLIENT, RUDE)}
        async with tunnel(mesh.proxy_url(CLIENT), "rude:7000", window=4096) as client:
            await client.say(b"source %d\n" % MUCH)
            await until_stuck(mesh, RUDE, "sent")
            grown = {name: resident_bytes(mesh, name) - before[name] for name in before}
            assert max(grown.values()) < SLACK, grown
            client.reset()
        await until_seen(mesh, RUDE, **ALONE)


async def test_a_slow_reader_gets_it_all(rude: Line) -> None:
    await rude.say(b"source %d\n" % MUCH)
    size = 0
    while data := await rude.reader.read(1_000_000):
        size += len(data)

    assert size == MUCH


async def test_a_client_that_breaks_while_nobody_reads_from_it_is_noticed(
    mesh: RunningMesh,
) -> None:
    """One had said all before, of the other nobody takes what it says; their server does not care."""
    proxy = mesh.proxy_url(CLIENT)
    async with (
        undisturbed(mesh),
        tunnel(proxy, "rude:7000") as ended,
        tunnel(proxy, "rude:7000") as flooding,
    ):
        await ended.say(b"stubborn\n")
        ended.writer.write_eof()
        await flooding.say(b"stubborn\n")
        flooding.writer.write(b"x" * 20_000_000)
        await until_seen(mesh, RUDE, stubborn=2)
        await until_buffered(mesh, CLIENT)
        ended.reset()
        flooding.reset()
    assert (await seen(mesh, RUDE))["stubborn"] == 2
    await tell(mesh, RUDE, "release")
    await until_seen(mesh, RUDE, **ALONE)


@pytest.mark.parametrize("authority", ["rude:7001", "rude:7002", "rude:7003", "127.0.0.1:9"])
async def test_who_cannot_be_reached_breaks_the_tunnel(mesh: RunningMesh, authority: str) -> None:
    proxy = mesh.proxy_url(CLIENT)
    async with tunnel(proxy, authority):
        """From here on the proxy knows what there is to know about that address."""
    async with undisturbed(mesh), tunnel(proxy, authority) as client:
        with anyio.fail_after(5):
            if authority == "rude:7001":
                assert await client.rest() == b""
            else:
                with pytest.raises(ConnectionResetError):
                    await client.rest()
