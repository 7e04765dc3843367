"""Traffic through two proxies: real processes, a real bus, real clients."""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from common.config import environment
from tests.support import echo, talkers
from tests.support.mesh import Load, RunningMesh, running_mesh

pytestmark = pytest.mark.anyio

APPLICATION = f"""
namespace: shop
workloads:
  - name: client
    command: [sleep, "1000"]
  - name: echo
    command: ["{{python}}", "-P", "{echo.__file__}", "{{address}}", "{{port}}"]
    ports: [8000]
    replicas: 2
  - name: plain
    command: ["{{python}}", "-P", "{echo.__file__}", "{{address}}", "{{port}}"]
    ports: [8000]
    meshed: false
  - name: talker
    command: ["{{python}}", "-P", "{talkers.__file__}", "{{address}}", "{{port}}", echo]
    ports: [7000]
  - name: greeter
    command: ["{{python}}", "-P", "{talkers.__file__}", "{{address}}", "{{port}}", greeter]
    ports: [7000]
  - name: upgrader
    command: ["{{python}}", "-P", "{talkers.__file__}", "{{address}}", "{{port}}", upgrade]
    ports: [8000]
"""


@pytest.fixture(scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningMesh]:
    async with running_mesh(tmp_path_factory.mktemp("mesh"), APPLICATION) as running:
        yield running


async def curl(mesh: RunningMesh, *arguments: str) -> str:
    """What curl, an unmodified program that knows `http_proxy`, prints."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed: apt-get install curl")
    done = await anyio.run_process(
        ["curl", "-sS", "--max-time", "20", *arguments],
        env={"PATH": environment()["PATH"], "http_proxy": mesh.proxy_url("client-1")},
        stderr=subprocess.STDOUT,
        check=False,
    )
    return done.stdout.decode("latin-1")


async def tunnel(
    mesh: RunningMesh, authority: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection through the client's proxy by CONNECT."""
    host, _, port = mesh.proxy_url("client-1").removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    return reader, writer


async def test_the_far_end_sees_who_asks_and_nobody_can_pretend(mesh: RunningMesh) -> None:
    said = await curl(
        mesh, "-H", "tulle-client-id: spiffe://cluster.local/ns/x/sa/king", "http://echo:8000/a?b=c"
    )

    seen = json.loads(said)
    assert seen["headers"]["tulle-client-id"] == "spiffe://cluster.local/ns/shop/sa/client"
    assert seen["headers"]["host"] == "echo:8000"
    assert seen["path"] == "/a?b=c"


async def test_both_identities_and_mutual_tls_are_told_for_each_edge(mesh: RunningMesh) -> None:
    async with Load(
        mesh.proxy_url("client-1"), "http://echo.shop.svc.cluster.local:8000/"
    ).running() as load:
        await load.wait_for(50)
    assert load.failures == []

    edge = await mesh.edge("client", "echo", requests=50)
    assert edge.source_identity == "spiffe://cluster.local/ns/shop/sa/client"
    assert edge.target_identity == "spiffe://cluster.local/ns/shop/sa/echo"
    assert edge.mtls
    assert edge.figures.success_rate == 1.0


async def test_requests_at_the_same_time_are_spread_over_replicas(mesh: RunningMesh) -> None:
    replicas: set[str] = set()

    async def ask() -> None:
        replicas.add(json.loads(await curl(mesh, "http://echo:8000/?sleep=0.5"))["replica"])

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(ask)

    assert replicas == {"1", "2"}


async def test_a_body_comes_through_with_length_and_in_chunks(
    mesh: RunningMesh, tmp_path: Path
) -> None:
    body = os.urandom(300_000).hex()
    (tmp_path / "body").write_text(body)

    with_length = json.loads(
        await curl(mesh, "--data-binary", f"@{tmp_path}/body", "http://echo:8000/")
    )

    assert with_length["body"] == body


async def test_a_large_download_is_whole(mesh: RunningMesh) -> None:
    assert len(await curl(mesh, "http://echo:8000/?size=20000000")) == 20_000_000


async def test_what_is_not_meshed_is_spoken_to_in_the_clear_and_told_so(mesh: RunningMesh) -> None:
    seen = json.loads(await curl(mesh, "http://plain:8000/"))
    assert "tulle-client-id" not in seen["headers"]

    edge = await mesh.edge("client", "plain", requests=1)
    assert not edge.mtls
    assert edge.no_tls_reason == "not-meshed"


async def test_an_unknown_name_is_refused_with_a_reason(mesh: RunningMesh) -> None:
    said = await curl(mesh, "-i", "http://nobody.nowhere.invalid/")

    assert "404" in said.splitlines()[0]
    assert "tulle-error: no-route" in said


async def test_a_service_without_endpoints_is_refused_after_failfast(mesh: RunningMesh) -> None:
    """`echo` has no port 9999, and its name is none that DNS knows."""
    said = await curl(mesh, "-i", "http://echo:9999/")

    assert "tulle-error" in said


async def test_opaque_bytes_go_both_ways_and_each_half_ends_alone(mesh: RunningMesh) -> None:
    reader, writer = await tunnel(mesh, "talker:7000")
    payload = os.urandom(2_000_000)

    async def send() -> None:
        writer.write(payload)
        await writer.drain()
        writer.write_eof()

    async with anyio.create_task_group() as group:
        group.start_soon(send)
        with anyio.fail_after(20):
            received = await reader.read()
    writer.close()

    assert received == payload + b"bye"


async def test_a_server_that_speaks_first_is_heard_through_a_tunnel(mesh: RunningMesh) -> None:
    reader, writer = await tunnel(mesh, "greeter:7000")

    with anyio.fail_after(5):
        assert await reader.readline() == b"220 ready\r\n"
    writer.close()


async def test_an_upgraded_connection_is_a_tunnel_between_both_ends(mesh: RunningMesh) -> None:
    host, _, port = mesh.proxy_url("client-1").removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"GET http://upgrader:8000/ HTTP/1.1\r\nhost: upgrader:8000\r\n"
        b"connection: upgrade\r\nupgrade: echo\r\n\r\nearly"
    )

    with anyio.fail_after(10):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101")
        assert await reader.readexactly(5) == b"early"
        writer.write(b"later")
        assert await reader.readexactly(5) == b"later"
        writer.write_eof()
        assert await reader.read() == b"bye"
    writer.close()


async def test_what_is_not_http_is_refused_and_the_connection_closed(mesh: RunningMesh) -> None:
    host, _, port = mesh.proxy_url("client-1").removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST http://echo:8000/ HTTP/1.1\r\nhost: echo\r\ncontent-length: 3\r\n"
        b"transfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n"
    )

    with anyio.fail_after(10):
        answer = await reader.read()
    writer.close()

    assert answer.startswith(b"HTTP/1.1 400")
    assert b"tulle-error: length-and-encoding" in answer
    assert answer.count(b"HTTP/1.1") == 1
