"""The mesh directory in a Secret of a real cluster: what is promised holds there, and rotations go on."""

import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import anyio
import msgspec
import pytest

from common.bus import Bus
from common.config import environment
from common.contract import subjects
from common.contract.identity import Rotation, TrustChange, TrustQuestion
from common.errors import BusUnavailable, Refused
from common.nats_server import free_port
from tests.support.cluster import Cluster
from tests.support.mesh_in_cluster import data, identity_account, mesh_in_cluster
from tests.support.mirrors import PROMISES, World
from tests.support.nats import until

pytestmark = pytest.mark.anyio
PATIENCE = 50.0


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
async def test_it_is_so(
    cluster: Cluster,
    namespace: str,
    tmp_path: Path,
    promise: Callable[[World], Awaitable[None]],
) -> None:
    async with cluster.client() as client:
        world = World(client, namespace, tmp_path)
        await world.begin()
        await promise(world)


async def status(bus: Bus) -> Rotation:
    with anyio.fail_after(PATIENCE):
        while True:
            try:
                return await bus.request(subjects.trust_status(), TrustQuestion(), timeout=10)
            except BusUnavailable:
                await anyio.sleep(0.05)


async def change(bus: Bus, step: str) -> Rotation:
    """Take a step as soon as it may be taken."""
    asked = msgspec.convert({"step": step}, TrustChange)
    with anyio.fail_after(PATIENCE):
        while True:
            try:
                return await bus.request(subjects.trust_change(), asked, timeout=PATIENCE)
            except (Refused, BusUnavailable):
                await anyio.sleep(0.1)


async def reached(bus: Bus, wanted: Callable[[Rotation], bool]) -> Rotation:
    with anyio.fail_after(PATIENCE):
        while True:
            found = await status(bus)
            if wanted(found):
                return found
            await anyio.sleep(0.1)


async def test_a_rotation_survives_whoever_drives_it_and_reaches_every_object(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    async with mesh_in_cluster(cluster, namespace, tmp_path) as mesh:
        old = mesh.read()
        async with (
            mesh.role("operator") as operator,
            mesh.in_cluster(lease_seconds=2) as first,
        ):
            await change(operator, "add")
            async with mesh.in_cluster(lease_seconds=2):
                # With it goes its memory; the other knows the Secret alone.
                first.kill()
                assert len(mesh.read().anchors()) == 2
                assert (await status(operator)).phase == "added"
                await change(operator, "switch")
                late = "has not read Secret tulle-nats as it is now"
                await reached(operator, lambda found: late in found.trouble)
                assert (await status(operator)).phase == "switched"

                mesh.files.bring()
                await reached(operator, lambda found: found.trouble == "")
                await change(operator, "rotate")
                await reached(operator, lambda found: found.completed == 1)

        new, held = mesh.read(), data(cluster, namespace, "secret/tulle-mesh")
    assert new.anchors() != old.anchors()
    assert len(new.anchors()) == 1
    assert old.anchor_key_file.read_bytes() not in held.values()
    trust = data(cluster, namespace, "configmap/tulle-trust")
    assert trust == {"anchor.pem": held["trust.anchor.pem"]}
    nats = data(cluster, namespace, "secret/tulle-nats")
    assert nats["server.pem"] == held["nats.server.pem"]
    assert nats["server.pem"] != old.server_file.read_bytes()


async def test_while_the_api_is_away_no_step_is_taken_and_nothing_ends(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    async with (
        mesh_in_cluster(cluster, namespace, tmp_path) as mesh,
        mesh.in_cluster(),
        mesh.role("operator") as operator,
    ):
        await reached(operator, lambda found: found.trouble == "")
        cluster.stop_api()
        try:
            asked = msgspec.convert({"step": "rotate"}, TrustChange)
            with pytest.raises(Refused, match=r"not written|cannot be read|not brought up to date"):
                await operator.request(subjects.trust_change(), asked, timeout=PATIENCE)
            followed = operator.follow(subjects.trust(), lambda *_: None)
            await until(lambda: followed.document)
            assert followed.document is not None
            assert followed.document.phase == "steady"
            assert len(followed.document.anchors) == 1
        finally:
            cluster.start_api()
            await until(cluster.ready, 60)
        found = await change(operator, "add")

    assert found.phase == "added"


async def test_while_there_is_no_mesh_it_lives_says_what_it_waits_for_and_ends_when_told(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    port, log = free_port(), tmp_path / "log"
    settings = {
        "source": "kubernetes",
        "dir": tmp_path / "memory",
        "namespace": namespace,
        "kubeconfig": identity_account(cluster, namespace),
        "admin_listen": f"127.0.0.1:{port}",
    }
    env = {f"TULLE_{name.upper()}": str(value) for name, value in settings.items()}
    env["PATH"] = environment().get("PATH", "")
    command = [sys.executable, "-m", "services.identity"]
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=out)  # noqa: ASYNC220
    try:
        await until(lambda: "waiting for the bootstrap Job" in log.read_text(), 30)
        async with aiohttp.ClientSession() as session:
            for path, expected in (("live", 200), ("ready", 503), ("metrics", 200)):
                async with session.get(f"http://127.0.0.1:{port}/{path}") as answer:
                    assert answer.status == expected
        process.terminate()
        await until(lambda: process.poll() is not None, 15)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, log.read_text()
