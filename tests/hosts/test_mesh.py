"""Traffic through two proxies with real interception: programs and clients that know of no proxy."""

import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from cli.mesh import operator_bus
from common.contract.telemetry import EdgeRow
from demo.observer import Observer
from tests.support import echo, talkers
from tests.support.hosts import PATH, give_up
from tests.support.intercepted import Intercepted, intercepted

pytestmark = pytest.mark.anyio
ACCOUNT = "spiffe://cluster.local/ns/shop/sa/"

APPLICATION = f"""
namespace: shop
workloads:
  - {{name: client, command: [sleep, "1000"]}}
  - {{name: stranger, command: [sleep, "1000"], meshed: false}}
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
    ports: [{{port: 7000, protocol: tulle.dev/opaque}}]
  - name: web
    command: [nginx, -p, "NGINX", -c, nginx.conf]
    ports: [80]
"""
NGINX = """
daemon off;
master_process off;
user root;
pid nginx.pid;
error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server { listen 80; location / { return 200 "$host $http_tulle_client_id"; } }
}
"""
# Sends its standard input, ends its half, and prints all that comes back.
TALK = """
import shutil, socket, sys, threading
talk = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=20)
def send():
    talk.sendall(sys.stdin.buffer.read())
    talk.shutdown(socket.SHUT_WR)
threading.Thread(target=send).start()
with talk.makefile("rb") as heard:
    shutil.copyfileobj(heard, sys.stdout.buffer)
"""


@pytest.fixture(scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Intercepted]:
    for tool, package in (("nginx", "nginx-light"), ("curl", "curl")):
        if shutil.which(tool, path=PATH) is None:
            give_up(f"{tool} missing (sudo apt-get install {package})")
    prefix = tmp_path_factory.mktemp("nginx")
    (prefix / "nginx.conf").write_text(NGINX)
    async with intercepted(APPLICATION.replace("NGINX", str(prefix))) as up:
        yield up


async def seen(mesh: Intercepted, replica: str, *arguments: str) -> dict[str, Any]:
    """What the echo program saw of a request made by curl at a replica."""
    answer: dict[str, Any] = json.loads(await mesh.curl(replica, *arguments))
    return answer


async def talk(mesh: Intercepted, host: str, port: int, text: bytes) -> bytes:
    said = await mesh.run("client-1", sys.executable, "-c", TALK, host, str(port), text=text)
    return said.encode("latin-1")


async def edges(mesh: Intercepted) -> dict[tuple[str, str], EdgeRow]:
    async with operator_bus(mesh.session.mesh) as bus:
        observer = Observer(bus, mesh.session.layout)
        await observer.start()
        return {(row.source, row.target): row for row in await observer.settled(600.0)}


async def test_programs_that_know_of_no_proxy_are_told_who_asks(mesh: Intercepted) -> None:
    for host in ("echo", "echo.shop", "echo.shop.svc.cluster.local"):
        answer = await seen(mesh, "client-1", f"http://{host}:8000/a?b=c")

        assert answer["headers"]["tulle-client-id"] == ACCOUNT + "client"
        assert answer["headers"]["host"] == f"{host}:8000"
        assert answer["path"] == "/a?b=c"


async def test_nobody_can_pretend_to_be_another(mesh: Intercepted) -> None:
    lie = ("-H", f"tulle-client-id: {ACCOUNT}king")

    meshed = await seen(mesh, "client-1", *lie, "http://echo:8000/")
    stranger = await seen(mesh, "stranger-1", *lie, f"http://{mesh.address('echo-1')}:8000/")

    assert meshed["headers"]["tulle-client-id"] == ACCOUNT + "client"
    assert "tulle-client-id" not in stranger["headers"]


async def test_an_unmodified_nginx_serves_behind_its_proxy(mesh: Intercepted) -> None:
    assert await mesh.curl("client-1", "http://web/") == f"web {ACCOUNT}client"


async def test_a_replica_is_reached_by_its_own_address_with_mutual_tls_too(
    mesh: Intercepted,
) -> None:
    for number in (1, 2):
        answer = await seen(mesh, "client-1", f"http://{mesh.address(f'echo-{number}')}:8000/")

        assert answer["headers"]["tulle-client-id"] == ACCOUNT + "client"
        assert answer["replica"] == str(number)


async def test_both_identities_are_told_for_the_edge(mesh: Intercepted) -> None:
    await mesh.curl("client-1", "http://echo:8000/")

    edge = (await edges(mesh))["client", "echo"]
    assert (edge.source_identity, edge.target_identity) == (ACCOUNT + "client", ACCOUNT + "echo")
    assert edge.mtls
    assert edge.figures.success_rate == 1.0


async def test_what_is_not_meshed_is_spoken_to_in_the_clear_and_told_so(mesh: Intercepted) -> None:
    assert "tulle-client-id" not in (await seen(mesh, "client-1", "http://plain:8000/"))["headers"]

    edge = (await edges(mesh))["client", "plain"]
    assert (edge.mtls, edge.no_tls_reason) == (False, "not-meshed")


async def test_a_body_comes_through_with_a_length_and_in_chunks(
    mesh: Intercepted, tmp_path: Path
) -> None:
    body = os.urandom(200_000).hex()
    (tmp_path / "body").write_text(body)
    data = ("--data-binary", f"@{tmp_path}/body")

    with_length = await seen(mesh, "client-1", *data, "http://echo:8000/")
    assert with_length["body"] == body

    download = await mesh.curl("client-1", "http://echo:8000/?size=20000000")
    assert len(download) == 20_000_000


async def test_several_requests_on_one_connection_are_answered_in_order(mesh: Intercepted) -> None:
    urls = [f"http://echo:8000/{number}" for number in range(20)]

    said = await mesh.curl("client-1", "-w", "\n%{num_connects}\n", *urls)

    lines = said.splitlines()
    assert [json.loads(line)["path"] for line in lines[::2]] == [f"/{n}" for n in range(20)]
    assert lines[1::2] == ["1"] + ["0"] * 19


async def test_opaque_bytes_are_detected_and_each_half_ends_alone(mesh: Intercepted) -> None:
    payload = b"\x00not http" + os.urandom(1_000_000)

    assert await talk(mesh, "talker", 7000, payload) == payload + b"bye"

    edge = (await edges(mesh))["client", "talker"]
    assert (edge.protocol, edge.mtls) == ("tcp", True)


async def test_a_server_that_speaks_first_is_heard_where_the_port_is_declared_opaque(
    mesh: Intercepted,
) -> None:
    with anyio.fail_after(8):
        assert await talk(mesh, "greeter", 7000, b"") == b"220 ready\r\nbye"


async def test_loopback_and_the_own_address_are_left_alone(mesh: Intercepted) -> None:
    for host in ("127.0.0.1", mesh.address("echo-1")):
        answer = await seen(mesh, "echo-1", f"http://{host}:8000/")

        assert "tulle-client-id" not in answer["headers"]


async def test_a_workload_reaches_its_own_service(mesh: Intercepted) -> None:
    replicas = {
        str((await seen(mesh, "echo-1", "http://echo:8000/"))["replica"]) for _ in range(20)
    }

    assert "2" in replicas


async def test_the_admin_port_answers_without_interception(mesh: Intercepted) -> None:
    said = await mesh.curl("stranger-1", f"http://{mesh.address('echo-1')}:4191/ready")

    assert said.startswith("ready")


async def test_an_address_where_nothing_is_ends_the_connection_soon(mesh: Intercepted) -> None:
    script = f"{sys.executable} -c '{TALK}' 10.96.7.7 80 </dev/null >/dev/null 2>&1; echo ended"

    with anyio.fail_after(8):
        assert await mesh.run("client-1", "sh", "-c", script) == "ended\n"
