"""Other keys for the bus of a mesh under load, twice in a row, and on three nodes of which each restarts."""

import json
from pathlib import Path

import anyio
import pytest

from services.identity import nkey
from services.identity.directory import MeshDirectory
from services.identity.holders import HOLDERS
from tests.mesh.test_cluster import APPLICATION
from tests.support.command import tulle
from tests.support.mesh import Load, RunningMesh, running_mesh
from tests.support.nats import until

pytestmark = pytest.mark.anyio


def publics(mesh: MeshDirectory) -> set[str]:
    return {mesh.seed(mesh.seed_file(holder), nkey.USER).public for holder in HOLDERS}


async def rotated(mesh: RunningMesh, *words: str) -> dict[str, object]:
    """`tulle bus rotate`, to its good end."""
    done = await tulle("bus", "rotate", *words, "-o", "json", mesh=mesh.directory.root, seconds=90)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


async def test_no_request_fails_in_two_rotations_of_all_that_can_be_replaced_live(
    tmp_path: Path,
) -> None:
    async with running_mesh(tmp_path, APPLICATION.replace("replicas: 3", "replicas: 2")) as mesh:
        load = Load(mesh.proxy_url("client-1"), "http://echo:8000/")
        pids = {name: mesh.running[name].pid for name in mesh.running}
        seen = publics(mesh.directory)
        async with load.running():
            await load.wait_for(50)
            for number in (1, 2):
                found = await rotated(mesh)
                assert (found["phase"], found["completed"]) == ("steady", number)
                assert not seen & publics(mesh.directory)
                seen |= publics(mesh.directory)
                await load.wait_for(50)
            # Destination's word still goes, and proxies hear it.
            await mesh.restart("echo-1-proxy")
            await load.wait_for(50)

        assert load.failures == []
        pids.pop("echo-1-proxy")
        assert {name: mesh.running[name].pid for name in pids} == pids


async def test_on_three_nodes_every_key_is_replaced_while_each_is_restarted(
    tmp_path: Path,
) -> None:
    async with running_mesh(tmp_path, APPLICATION, nodes=3) as mesh:
        load = Load(mesh.proxy_url("client-1"), "http://echo:8000/")
        account = mesh.directory.account().public
        async with load.running(), anyio.create_task_group() as group:
            await load.wait_for(50)
            done: list[dict[str, object]] = []

            async def rotate() -> None:
                done.append(await rotated(mesh, "services", "tokens", "account", "callout"))

            group.start_soon(rotate)
            for number in (1, 2, 3):
                # A node asks with the keys that it was started with, and is answered with the same.
                await until(
                    lambda: account not in mesh.directory.node_config_file("nats-1").read_text(), 30
                )
                await mesh.restart(f"nats-{number}")
                await load.wait_for(50)
            await until(lambda: bool(done), 60)
            await load.wait_for(50)

        assert done[0]["completed"] == 1
        assert load.failures == []
        assert mesh.directory.account().public != account
