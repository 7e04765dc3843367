"""Clients that misbehave: what they may see, and that nobody else notices."""

import asyncio
import resource
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from itertools import product
from subprocess import PIPE

import anyio
import msgspec
import pytest

from demo.programs import INBOUND_PORT
from proxy.transport.census import RESERVED
from tests.support import bad_clients
from tests.support.bad_clients import Line, address_of, deaf_sockets, head, leave_with_reset, line
from tests.support.chaos import (
    BAD,
    BAD_URL,
    CLIENT,
    GOOD_URL,
    PATIENCE_SECONDS,
    RUDE,
    application,
    gauges,
    resident_bytes,
    tell,
    undisturbed,
    until_buffered,
    until_seen,
    until_stuck,
    until_told,
)
from tests.support.mesh import Load, RunningMesh, running_mesh

pytestmark = pytest.mark.anyio
MUCH = 100_000_000
SLACK = 30_000_000
CROWD = 2000
LIMIT = 50
"""Connections that the rude application's proxy takes, each way."""


@pytest.fixture(scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningMesh]:
    async with running_mesh(tmp_path_factory.mktemp("mesh"), application()) as running:
        name = f"{RUDE}-proxy"
        program = running.programs[name]
        env = program.env | {"TULLE_MAX_CONNECTIONS": str(LIMIT)}
        running.programs[name] = msgspec.structs.replace(program, env=env)
        await running.restart(name, signal.SIGKILL)
        yield running


class Memory:
    """How much more memory the proxies of the client and the application occupy than at first."""

    def __init__(self, mesh: RunningMesh) -> None:
        self._mesh = mesh
        self._before = {name: resident_bytes(mesh, name) for name in (CLIENT, BAD)}

    @property
    def grown(self) -> int:
        """By the one that grew most, in bytes."""
        return max(
            resident_bytes(self._mesh, name) - before for name, before in self._before.items()
        )


async def test_twenty_who_never_read_a_large_response_cost_little(mesh: RunningMesh) -> None:
    async with undisturbed(mesh):
        memory = Memory(mesh)
        with deaf_sockets(mesh.proxy_url(CLIENT), head(f"{BAD_URL}/download/{MUCH}"), 20):
            await until_seen(mesh, BAD, downloads=20)
            await until_stuck(mesh, BAD, "sent")
            assert memory.grown < SLACK
        await until_seen(mesh, BAD, downloads=0)


async def test_a_client_that_is_stopped_in_its_tracks_costs_little_and_is_forgotten(
    mesh: RunningMesh,
) -> None:
    host, port = address_of(mesh.proxy_url(CLIENT))
    words = [sys.executable, "-P", bad_clients.__file__, host, str(port), "10"]
    async with undisturbed(mesh):
        memory = Memory(mesh)
        client = await asyncio.create_subprocess_exec(
            *words, f"{BAD_URL}/download/{MUCH}", stdin=PIPE, stdout=PIPE
        )
        assert client.stdout is not None
        assert await client.stdout.readline() == b"asked\n"
        client.send_signal(signal.SIGSTOP)
        await until_stuck(mesh, BAD, "sent")
        assert memory.grown < SLACK
        client.kill()
        await client.wait()
        await until_seen(mesh, BAD, downloads=0)


async def test_an_endless_upload_costs_little(mesh: RunningMesh) -> None:
    """To one who reads it, and to one who does not, until the client leaves."""
    proxy = mesh.proxy_url(CLIENT)
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    async with undisturbed(mesh):
        memory = Memory(mesh)
        async with line(proxy) as heard, line(proxy) as unheard:
            upload = "transfer-encoding: chunked"
            await heard.say(head(f"{BAD_URL}/swallow", "POST", upload))
            unheard.writer.write(head(f"{BAD_URL}/sink", "POST", upload) + chunk * 500)
            with anyio.fail_after(PATIENCE_SECONDS):
                for _ in range(500):
                    await heard.say(chunk)
            await until_seen(mesh, BAD, sinks=1, swallowing=1)
            await until_stuck(mesh, BAD, "received")
            assert memory.grown < SLACK
            heard.reset()
            unheard.reset()
        await until_seen(mesh, BAD, swallowing=0)
    await tell(mesh, BAD, "release")
    await until_seen(mesh, BAD, sinks=0)


async def test_a_slow_body_and_thousands_of_tiny_chunks_arrive(mesh: RunningMesh) -> None:
    proxy = mesh.proxy_url(CLIENT)
    async with undisturbed(mesh), line(proxy) as slow, line(proxy) as tiny:
        await tiny.say(head(f"{BAD_URL}/swallow", "POST", "transfer-encoding: chunked"))
        await slow.say(head(f"{BAD_URL}/swallow/20", "POST", "content-length: 20"))
        with anyio.fail_after(PATIENCE_SECONDS):
            for _ in range(20):
                await tiny.say(b"1\r\nx\r\n" * 500)
                await slow.say(b"x")
                await anyio.sleep(0.01)
            await tiny.say(b"0\r\n\r\n")
            assert [(await client.answer()).status for client in (tiny, slow)] == [200, 200]


async def test_a_flood_of_pipelined_requests_waits_its_turn(mesh: RunningMesh) -> None:
    """Nobody reads the answers at first; those who leave are forgotten, and all others are answered."""
    count = 1500
    request = head(f"{BAD_URL}/ok/2500")
    async with undisturbed(mesh):
        memory = Memory(mesh)
        async with line(mesh.proxy_url(CLIENT), window=4096) as client:
            with deaf_sockets(mesh.proxy_url(CLIENT), head(f"{BAD_URL}/never"), 3) as leaving:
                for connection in leaving:
                    connection.setblocking(False)
                    connection.send(request * count)
                    leave_with_reset(connection)
                client.writer.write(request * count)
                await until_buffered(mesh, CLIENT)
                assert memory.grown < SLACK
            with anyio.fail_after(PATIENCE_SECONDS):
                for _ in range(count):
                    answer = await client.reader.readuntil(b"\r\n\r\n")
                    assert answer.startswith(b"HTTP/1.1 200")
                    assert await client.reader.readexactly(5000) == b"ok" * 2500


POST = head(f"{BAD_URL}/swallow", "POST", "content-length: 1000")
TUNNEL = b"CONNECT bad:8000 HTTP/1.1\r\nhost: bad:8000\r\n\r\n"
NOWHERE = b"CONNECT 127.0.0.1:9 HTTP/1.1\r\nhost: a\r\n\r\n"
STAGES = (
    *(b"", b"GET http://ba", POST[:-2], POST, POST + b"x" * 500, TUNNEL, NOWHERE),
    TUNNEL + head(f"{BAD_URL}/never"),
    head(f"{BAD_URL}/never"),
    head(f"{BAD_URL}/trickle/3"),
    head(f"{BAD_URL}/forever"),
    head(f"{BAD_URL}/download/{MUCH}"),
    head(f"{BAD_URL}/ok/1") * 3,
)


async def test_who_leaves_at_any_stage_or_dawdles_leaves_nothing_behind(mesh: RunningMesh) -> None:
    proxy = mesh.proxy_url(CLIENT)

    async def leave(stage: bytes, after: float, reset: bool) -> None:
        async with line(proxy) as client:
            client.writer.write(stage)
            await anyio.sleep(after)
            if reset:
                client.reset()

    async def dawdle() -> None:
        async with line(proxy) as client, anyio.create_task_group() as group:
            group.start_soon(trickle, client, head(f"{BAD_URL}/ok/1", "GET", *["x: y"] * 100))
            answer = await client.answer()
            group.cancel_scope.cancel()
        assert (answer.status, answer.error) == (408, "head-too-slow")

    # From here on the proxy knows what there is to know about the address outside.
    await leave(NOWHERE, 0.1, True)
    async with undisturbed(mesh):
        with anyio.fail_after(PATIENCE_SECONDS):
            async with anyio.create_task_group() as group:
                for words in product(STAGES, (0.0, 0.001, 0.01, 0.1), (True, False)):
                    group.start_soon(leave, *words)
                for _ in range(20):
                    group.start_soon(dawdle)
    await until_seen(mesh, BAD, held=0, swallowing=0, downloads=0)


async def trickle(client: Line, data: bytes) -> None:
    """Say it slowly, as long as somebody listens."""
    with suppress(OSError):
        for byte in data:
            await client.say(bytes([byte]))
            await anyio.sleep(0.2)


async def test_thousands_who_say_nothing_are_no_burden(mesh: RunningMesh) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(CROWD, hard // 2 - 200)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 200), hard))
    async with undisturbed(mesh):
        memory = Memory(mesh)
        with deaf_sockets(mesh.proxy_url(CLIENT), b"", count):
            await until_told(mesh, CLIENT, lambda now: now["proxy_outbound_connections"] >= count)
            # A few kilobytes for each.
            assert memory.grown < SLACK


async def test_when_descriptors_run_out_newcomers_are_refused(mesh: RunningMesh) -> None:
    pid = mesh.running[f"{CLIENT}-proxy"].pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    async with undisturbed(mesh):
        try:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (200, limits[1]))
            before = await gauges(mesh, CLIENT)
            with deaf_sockets(mesh.proxy_url(CLIENT), b"", 300):
                await until_told(mesh, CLIENT, lambda now: _arrived(now) - _arrived(before) >= 300)
                now = await gauges(mesh, CLIENT)
                assert now["proxy_outbound_connections"] < 200 - RESERVED
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


async def test_when_there_are_too_many_connections_newcomers_are_refused(mesh: RunningMesh) -> None:
    load = Load(mesh.proxy_url(RUDE), GOOD_URL)
    async with undisturbed(mesh, CLIENT, BAD), load.running():
        await load.wait_for(20)
        for side, url in (
            ("outbound", mesh.proxy_url(RUDE)),
            ("inbound", f"http://{mesh.replica(RUDE).address}:{INBOUND_PORT}"),
        ):
            before = (await gauges(mesh, RUDE))["proxy_refused_connections_total"]
            with deaf_sockets(url, b"", 2 * LIMIT):
                await until_told(mesh, RUDE, partial(_is_full, side, before))
                await load.wait_for(20)
        assert load.failures == []


def _is_full(side: str, refused: float, now: dict[str, float]) -> bool:
    """Whether all places are taken, and as many were refused since."""
    more = now["proxy_refused_connections_total"] - refused
    return now[f"proxy_{side}_connections"] == LIMIT and more >= LIMIT


def _arrived(now: dict[str, float]) -> float:
    """Connections that are there, or were refused."""
    return now["proxy_outbound_connections"] + now["proxy_refused_connections_total"]
