"""Without a valid certificate nothing is said or heard as meshed, and why is told; later all is well again."""

import re
from functools import partial
from pathlib import Path

import pytest

from demo import readiness
from tests.support import echo
from tests.support.mesh import Load, RunningMesh, running_mesh
from tests.support.nats import until, until_told

pytestmark = pytest.mark.anyio

APPLICATION = f"""
namespace: shop
workloads:
  - name: client
    command: [sleep, "1000"]
  - name: echo
    command: ["{{python}}", "-P", "{echo.__file__}", "{{address}}", "{{port}}"]
    ports: [8000]
"""
PROXIES = ("client-1-proxy", "echo-1-proxy")
LEAF_SECONDS = 6


async def missing(mesh: RunningMesh, name: str) -> str:
    """What a proxy is not ready for; empty if it is ready."""
    running = mesh.running[name]
    return await readiness.check(running.program.ready, running.pid)


async def test_when_certificates_end_traffic_ends_with_the_reason_and_returns_with_new_ones(
    tmp_path: Path,
) -> None:
    async with running_mesh(tmp_path, APPLICATION, leaf_seconds=LEAF_SECONDS) as mesh:
        async with Load(mesh.proxy_url("client-1"), "http://echo:8000/").running() as load:
            await load.wait_for(50)
            assert load.failures == []
            await mesh.kill("identity")

            await until(lambda: "no-identity" in str(load.failures), 30)
            assert {failure.split()[1] for failure in load.failures} == {"502"}
            for name in PROXIES:
                await until(partial(_says, mesh, name, "the certificate has expired"))
                assert await missing(mesh, name)
            # Whatever still was on its way has ended: from now on all are refused, and for one reason.
            seen = len(load.failures)
            await until(lambda: len(load.failures) > seen + 20)
            assert {failure.split()[-1] for failure in load.failures[-10:]} == {"no-identity"}

            await mesh.start("identity")
            for name in PROXIES:
                await until_told(partial(_is_ready, mesh, name), 60)
        async with Load(mesh.proxy_url("client-1"), "http://echo:8000/").running() as again:
            await again.wait_for(50)

        assert again.failures == []
        # Whoever cannot be certified asks again later and later, and no two at the same time.
        waits = re.findall(r"no new certificate .*again_in=([0-9.]+)s", mesh.log(PROXIES[0]))
        assert len(waits) > 1
        assert len(set(waits)) > 1


def _says(mesh: RunningMesh, name: str, text: str) -> bool:
    return text in mesh.log(name)


async def _is_ready(mesh: RunningMesh, name: str) -> bool:
    return not await missing(mesh, name)


async def test_a_proxy_that_was_never_certified_is_not_ready_and_goes_on_asking(
    tmp_path: Path,
) -> None:
    async with running_mesh(tmp_path, APPLICATION) as mesh:
        replica = mesh.replica("echo-1")
        await mesh.stop("echo-1-proxy")
        (mesh.paths.state(replica) / "leaf.pem").unlink()
        mesh.paths.token(replica).write_text("not a token")

        await mesh.start("echo-1-proxy", wait=False)

        log = "echo-1-proxy"
        await until(lambda: mesh.log(log).count("cannot connect to the bus") > 0, 20)
        assert await missing(mesh, log)
        assert "not a token" not in mesh.log(log)
