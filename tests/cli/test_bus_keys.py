"""`tulle bus keys` and `tulle bus rotate`: what a person sees, with a real identity service."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.identity.bootstrap import bootstrap
from tests.support.command import tulle
from tests.support.identity import Mesh, nats

pytestmark = pytest.mark.anyio


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    """A mesh whose bus.json tells where its NATS happens to listen, with identity."""
    async with nats(tmp_path) as mesh:
        bootstrap(mesh.directory.root, nats_port=mesh.server.port, store_dir=tmp_path / "store")
        async with mesh.identity():
            yield mesh


async def test_a_person_replaces_keys_and_sees_how_old_they_are(mesh: Mesh) -> None:
    async with mesh.role("telemetry"):
        root = mesh.directory.root
        seed = mesh.directory.user("operator").seed
        before = await tulle("bus", "keys", mesh=root)
        assert before.stdout.startswith("phase     steady: no rotation is under way\n")
        assert [line.split()[0] for line in before.stdout.splitlines()[2:] if line] == [
            *("services", "account", "callout", "tokens"),
        ]

        done = await tulle("bus", "rotate", mesh=root, seconds=60)

        # The operator's key is another now, and what watches comes in with it.
        assert (done.returncode, mesh.directory.user("operator").seed != seed) == (0, True)
        assert "NATS is to admit by new keys as well" in done.stderr
        assert "new keys lie where they are used; waiting for identity" in done.stderr
        assert "the new keys have taken the place of the old ones" in done.stderr
        shown = await tulle("bus", "keys", "-o", "json", mesh=root)
        assert json.loads(shown.stdout)["completed"] == 1


async def test_a_rotation_that_gets_no_further_says_why_and_is_taken_back(mesh: Mesh) -> None:
    root = mesh.directory.root
    account = mesh.directory.account().public

    stuck = await tulle("bus", "rotate", "account", "--timeout", "1s", mesh=root)

    assert stuck.returncode == 1
    why = "takes another key of account or callout at its start only: restart it"
    assert f"trouble   NATS server tulle: {why}\n" in stuck.stdout
    assert f"tulle: NATS server tulle: {why}\n" in stuck.stderr
    assert "--leave-behind NAME" in stuck.stderr
    assert "being replaced" in stuck.stdout
    typo = await tulle("bus", "rotate", "--leave-behind", "telemetri", mesh=root)
    assert "nobody is called telemetri; expected one of destination" in typo.stderr

    back = await tulle("bus", "rotate", "--back", mesh=root)

    assert back.returncode == 0, back.stderr
    assert "the old keys have taken the place of the new ones" in back.stderr
    assert mesh.directory.account().public == account
