"""Other keys for the bus of a mesh under load, twice in a row, and on three nodes of which each restarts."""

import json
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from common.contract import subjects
from common.contract.identity import KeyRotation, KeysChange, KeysQuestion
from common.errors import BusUnavailable
from services.identity import nkey
from services.identity.directory import MeshDirectory
from services.identity.holders import HOLDERS
from services.identity.key_progress import KINDS
from tests.mesh.test_cluster import APPLICATION
from tests.support.command import tulle
from tests.support.mesh import Load, RunningMesh, running_mesh

pytestmark = pytest.mark.anyio


def publics(mesh: MeshDirectory) -> set[str]:
    return {mesh.seed(mesh.seed_file(holder), nkey.USER).public for holder in HOLDERS}


async def rotated(mesh: RunningMesh, *words: str) -> dict[str, object]:
    """`tulle bus rotate`, to its good end."""
    done = await tulle("bus", "rotate", *words, "-o", "json", mesh=mesh.directory.root, seconds=90)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


async def finished(mesh: RunningMesh) -> KeyRotation:
    """How it is when nothing is under way any more."""
    with anyio.fail_after(60):
        while True:
            with suppress(BusUnavailable):
                async with mesh.bus() as bus:
                    now = await bus.request(subjects.keys_status(), KeysQuestion(), timeout=2)
                    if now.phase == "steady":
                        return now
            await anyio.sleep(0.2)


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
        async with load.running():
            await load.wait_for(50)
            async with mesh.bus() as bus:
                await bus.request(subjects.keys_change(), KeysChange(what=KINDS), timeout=20)
            for number in (1, 2, 3):
                # A node asks with the keys that it was started with, and is answered with the same.
                await mesh.restart(f"nats-{number}")
                await load.wait_for(50)
            assert (await finished(mesh)).completed == 1
            await load.wait_for(50)

        assert load.failures == []
        assert mesh.directory.account().public != account
