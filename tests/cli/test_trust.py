"""`tulle trust`: what a person sees of a rotation, with a real identity service."""

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


async def test_a_rotation_is_told_phase_by_phase(mesh: Mesh) -> None:
    root = mesh.directory.root
    before = await tulle("trust", "status", mesh=root)
    assert before.returncode == 0, before.stderr
    assert before.stdout.startswith("phase     steady: no rotation is under way\nanchor    ")

    done = await tulle("trust", "rotate", mesh=root)

    assert done.returncode == 0, done.stderr
    assert "the old anchor is trusted no more; in force at" in done.stderr
    assert "the new anchor has taken the place of the old one" in done.stderr
    assert done.stdout.startswith("phase     steady: no rotation is under way\nanchor    ")
    assert done.stdout.splitlines()[1] != before.stdout.splitlines()[1]


async def test_steps_are_taken_by_hand_and_back(mesh: Mesh) -> None:
    root = mesh.directory.root
    added = await tulle("trust", "add", mesh=root)
    assert added.stdout.startswith(
        "phase     added: the new anchor is trusted beside the old one\n"
    )
    assert "goes on   when told to" in added.stdout

    typo = await tulle("trust", "switch", "--leave-behind", "shop/wed", mesh=root)
    assert typo.returncode == 1
    assert "nobody is called shop/wed; expected one of" in typo.stderr

    refused = await tulle("trust", "finish", mesh=root)
    assert refused.returncode == 1
    assert "finish: not from phase 'added'; expected switch or back" in refused.stderr

    back = await tulle("trust", "back", "-o", "json", mesh=root)
    assert (back.returncode, json.loads(back.stdout)["phase"]) == (0, "steady")


async def test_without_identity_the_command_says_what_to_look_at(tmp_path: Path) -> None:
    async with nats(tmp_path) as mesh:
        bootstrap(mesh.directory.root, nats_port=mesh.server.port, store_dir=tmp_path / "store")

        done = await tulle("trust", "status", mesh=mesh.directory.root)

    assert done.returncode == 1
    assert "nobody is there to answer; is identity running?" in done.stderr
