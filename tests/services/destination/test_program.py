"""`python -m services.destination` as a process, on a bus that lets it do no more than it must."""

import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from common.bus import Bus
from common.contract import subjects
from common.contract.discovery import EndpointSlice, Service
from common.contract.events import Lifecycle
from common.names import ServiceName, WorkloadName
from services.identity.bootstrap import bootstrap
from tests.support.identity import Mesh, nats
from tests.support.nats import until

pytestmark = pytest.mark.anyio

COMMAND = [sys.executable, "-m", "services.destination"]
WEB = ServiceName("shop", "web")
MESH = """\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-x, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [{addresses: [10.0.0.1], targetRef: {kind: Pod, name: web-1}}]
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {tulle.dev/meshed: "true"}}
status: {podIP: 10.0.0.1}
"""


@asynccontextmanager
async def program(env: Mapping[str, str], log: Path) -> AsyncIterator["subprocess.Popen[bytes]"]:
    with log.open("ab") as out:
        process = subprocess.Popen(  # noqa: ASYNC220 - starting it takes no time
            COMMAND, env=dict(env), stdout=out, stderr=out
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def environment(mesh: Mesh, files: Path) -> dict[str, str]:
    return mesh.environment(
        nkey_file=mesh.directory.seed_file("destination"),
        directory=files,
        admin_listen="127.0.0.1:0",
        poll_seconds=0.05,
    )


class Follower:
    """What the mesh hears of the service and its slice."""

    def __init__(self, bus: Bus) -> None:
        self.service: Service | None = None
        self.slice: EndpointSlice | None = None
        bus.follow(subjects.service(WEB), self._hear_service)
        bus.follow(subjects.endpoints(WEB, "web-x"), self._hear_slice)

    def _hear_service(self, document: Service | None, _: int) -> None:
        self.service = document

    def _hear_slice(self, document: EndpointSlice | None, _: int) -> None:
        self.slice = document

    @property
    def ready(self) -> bool:
        return self.slice is not None and self.slice.endpoints[0].ready


async def test_it_publishes_hears_and_stops_with_the_permissions_that_it_has(
    tmp_path: Path,
) -> None:
    files, log = tmp_path / "files", tmp_path / "log"
    files.mkdir()
    (files / "web.yaml").write_text(MESH)
    async with nats(tmp_path) as mesh, mesh.identity(), mesh.role("operator") as bus:
        web = Follower(bus)
        async with program(environment(mesh, files), log) as process:
            await until(lambda: web.service is not None and web.ready, 20)

            (files / "web.yaml").write_text(MESH.replace("port: 80}", "port: 81}"))
            await until(lambda: web.service is not None and web.service.ports[0].port == 81)

            process.send_signal(signal.SIGTERM)
            await until(lambda: process.poll() is not None)
            assert process.returncode == 0

        # What happened while nobody was there is found at the start.
        (files / "web.yaml").write_text(MESH.replace("kind: Service", "kind: Service\nspec: []"))
        (files / "more.yaml").write_text(MESH.replace("10.0.0.1", "10.0.0.2"))
        async with program(environment(mesh, files), log) as process:
            await until(lambda: web.slice and web.slice.endpoints[0].address == "10.0.0.2")
    text = log.read_text()
    assert "ermission" not in text, text
    assert "Traceback" not in text, text
    assert "web.yaml" in text
    assert "spec is there twice" in text


async def test_it_withdraws_who_drains(tmp_path: Path) -> None:
    files, log = tmp_path / "files", tmp_path / "log"
    files.mkdir()
    (files / "web.yaml").write_text(MESH)
    pod = WorkloadName("shop", "web-1")
    async with nats(tmp_path) as mesh, mesh.identity(), mesh.role("operator") as bus:
        web = Follower(bus)
        async with program(environment(mesh, files), log):
            await until(lambda: web.ready, 20)

            token = mesh.token(pod, "web")
            async with mesh.workload_bus(pod, token) as proxy:
                with anyio.fail_after(15):
                    await proxy.wait_connected()
                word = Lifecycle(
                    namespace="shop", workload="web-1", uid="u1", phase="draining", time=1.0
                )
                await proxy.publish(subjects.lifecycle(pod, "draining"), word)
                await until(lambda: not web.ready)


async def test_all_mistakes_in_its_settings_are_told_at_once() -> None:
    env = {"TULLE_POLL_SECONDS": "0", "TULLE_ADMIN_LISTEN": "nowhere", "TULLE_LOGLEVEL": "info"}

    done = await anyio.run_process(COMMAND, env=env, check=False)

    told = done.stderr.decode().splitlines()
    assert done.returncode == 2
    for variable in ("BUS", "TRUST_ANCHORS_FILE", "NKEY_FILE"):
        assert any(line.startswith(f"TULLE_{variable}: not set; expected") for line in told)
    assert any(line.startswith("TULLE_POLL_SECONDS='0'") for line in told)
    assert any(line.startswith("TULLE_ADMIN_LISTEN='nowhere'") for line in told)
    assert "TULLE_LOGLEVEL: not a setting; expected TULLE_LOG_LEVEL" in told


async def test_files_that_hold_something_else_are_told_by_their_variables(tmp_path: Path) -> None:
    anchors = bootstrap(tmp_path / "mesh").anchors_file
    (tmp_path / "junk").write_text("junk")
    for given, says in (
        ((tmp_path / "junk", anchors), f"TULLE_TRUST_ANCHORS_FILE='{tmp_path / 'junk'}': "),
        ((anchors, anchors), f"TULLE_NKEY_FILE='{anchors}': expected an nkey user seed"),
    ):
        env = {
            "TULLE_BUS": "tls://127.0.0.1:1",
            "TULLE_DIRECTORY": str(tmp_path),
            "TULLE_TRUST_ANCHORS_FILE": str(given[0]),
            "TULLE_NKEY_FILE": str(given[1]),
        }
        with anyio.fail_after(20):
            done = await anyio.run_process(COMMAND, env=env, check=False)
        assert done.returncode == 2
        assert says in done.stderr.decode()
        assert b"Traceback" not in done.stderr


async def test_a_trust_domain_that_is_none_is_told_before_anything_is_published() -> None:
    needed = ("BUS", "TRUST_ANCHORS_FILE", "NKEY_FILE", "DIRECTORY")
    env = {**{f"TULLE_{name}": "x" for name in needed}, "TULLE_TRUST_DOMAIN": "Mesh_1"}

    done = await anyio.run_process(COMMAND, env=env, check=False)

    assert done.returncode == 2
    assert b"TULLE_TRUST_DOMAIN: trust domain 'Mesh_1': expected a DNS name" in done.stderr


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({}, "TULLE_DIRECTORY: not set; expected a path"),
        ({"TULLE_SOURCE": "kubernetes"}, "KUBERNETES_SERVICE_HOST: not set; expected to run in a"),
        ({"TULLE_SOURCE": "cloud"}, "TULLE_SOURCE='cloud': "),
    ],
)
async def test_a_source_that_is_not_there_is_told(more: dict[str, str], told: str) -> None:
    needed = {"TULLE_BUS": "nats://x:1", "TULLE_TRUST_ANCHORS_FILE": "/a", "TULLE_NKEY_FILE": "/b"}

    done = await anyio.run_process(COMMAND, env={**needed, **more}, check=False)

    assert done.returncode == 2
    assert done.stderr.decode().splitlines()[-1].startswith(told)
