"""What breaks without anybody noticing: each part of the control plane, the bus, and certificates that end."""

import signal
from pathlib import Path

import pytest

from tests.support import echo
from tests.support.mesh import Load, RunningMesh, running_mesh
from tests.support.nats import until

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
"""


def load(mesh: RunningMesh) -> Load:
    return Load(mesh.proxy_url("client-1"), "http://echo:8000/")


async def test_no_request_fails_while_the_bus_is_away_and_comes_back(tmp_path: Path) -> None:
    async with running_mesh(tmp_path, APPLICATION) as mesh, load(mesh).running() as requests:
        await requests.wait_for(100)
        await mesh.stop("nats-server")
        await requests.wait_for(200)
        await mesh.start("nats-server")
        await requests.wait_for(100)
        await until(lambda: mesh.log("client-1-proxy").count("connected to the bus") > 1, 40)
        await requests.wait_for(100)

        assert requests.failures == []


@pytest.mark.parametrize("controller", ["identity", "destination", "telemetry"])
async def test_no_request_fails_when_a_controller_is_killed(
    tmp_path: Path, controller: str
) -> None:
    async with running_mesh(tmp_path, APPLICATION) as mesh, load(mesh).running() as requests:
        await requests.wait_for(100)
        await mesh.kill(controller)
        await requests.wait_for(200)
        await mesh.start(controller)
        await requests.wait_for(200)

        assert requests.failures == []


async def test_a_proxy_that_restarts_without_bus_or_controllers_serves_what_it_knew(
    tmp_path: Path,
) -> None:
    async with running_mesh(tmp_path, APPLICATION) as mesh:
        async with load(mesh).running() as requests:
            await requests.wait_for(50)
            kept = mesh.paths.state(mesh.replica("client-1")) / "documents.json"
            await until(lambda: "discovery.endpoints.shop.echo" in _text(kept))
        for name in ("nats-server", "identity", "destination", "telemetry"):
            await mesh.kill(name)
        for proxy in ("client-1-proxy", "echo-1-proxy"):
            await mesh.restart(proxy, signal.SIGKILL)

        async with load(mesh).running() as requests:
            await requests.wait_for(100)

        assert requests.failures == []


async def test_certificates_are_renewed_under_traffic(tmp_path: Path) -> None:
    async with running_mesh(tmp_path, APPLICATION, leaf_seconds=6) as mesh:
        async with load(mesh).running() as requests:
            await until(lambda: mesh.log("client-1-proxy").count("certified") > 2, 60)
            await until(lambda: mesh.log("echo-1-proxy").count("certified") > 2, 60)
            await requests.wait_for(50)
        # Connections made now need the newest certificates: the first ones have ended.
        await mesh.restart("echo-1-proxy")
        async with load(mesh).running() as again:
            await again.wait_for(100)

        assert requests.failures == []
        assert again.failures == []


async def test_a_proxy_without_a_token_comes_back_by_its_leaf(tmp_path: Path) -> None:
    async with running_mesh(tmp_path, APPLICATION) as mesh:
        mesh.paths.token(mesh.replica("echo-1")).unlink()

        await mesh.restart("echo-1-proxy")

        await until(lambda: mesh.log("echo-1-proxy").count("connected to the bus") > 1, 20)


async def test_endpoints_that_change_on_disk_are_followed(tmp_path: Path) -> None:
    async with running_mesh(tmp_path, APPLICATION) as mesh, load(mesh).running() as requests:
        await requests.wait_for(50)
        services = mesh.paths.manifests / "services.yaml"
        whole = services.read_text()
        gone = mesh.replica("echo-1").address
        services.write_text(whole[: len(whole) // 2] + "\n  - {broken")
        await requests.wait_for(100)
        assert requests.failures == []

        services.write_text(whole.replace(gone, mesh.replica("echo-2").address))
        kept = mesh.paths.state(mesh.replica("client-1")) / "documents.json"
        await until(lambda: gone not in _text(kept), 20)
        await requests.wait_for(50)

        assert requests.failures == []


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
