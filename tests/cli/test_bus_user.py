"""`tulle bus user`: somebody may use the bus, with what was laid into their folder, until they may not."""

import json
from pathlib import Path

import anyio
import pytest
from click.testing import CliRunner, Result
from nats.errors import Error as NatsError

from cli.root import tulle
from services.identity.bootstrap import bootstrap
from services.identity.directory import MeshDirectory
from tests.support.command import tulle as tulle_command
from tests.support.identity import nats


@pytest.fixture
def mesh(tmp_path: Path) -> MeshDirectory:
    return bootstrap(tmp_path / "mesh")


def run(mesh: MeshDirectory, *arguments: str) -> Result:
    words = ("--mesh", str(mesh.root), "bus", *arguments)
    return CliRunner().invoke(tulle, words, prog_name="tulle")


def test_a_person_is_added_shown_and_removed(mesh: MeshDirectory, tmp_path: Path) -> None:
    folder = tmp_path / "ada"
    added = run(mesh, "user", "ada", "--role", "operator", "--expires", "8h", "--out", str(folder))

    assert (added.exit_code, added.stderr) == (0, "")
    assert f"tulle --mesh {folder} bus sub 'tulle.v1.>'" in added.stdout
    nats_tool = f"--nkey {folder}/keys/person.seed --tlsca {folder}/trust/anchor.pem"
    assert nats_tool in added.stdout
    assert "--inbox-prefix _INBOX._.person.ada sub 'tulle.v1.>'" in added.stdout
    assert (folder / "keys" / "person.seed").read_text() not in added.stdout

    (shown,) = json.loads(run(mesh, "users", "-o", "json").stdout)
    assert (shown["name"], shown["role"]) == ("ada", "operator")
    assert "ada   operator" in run(mesh, "users").stdout

    removed = run(mesh, "user", "ada", "--remove")
    assert (removed.exit_code, removed.stdout) == (0, "ada may no longer use the bus\n")
    assert json.loads(run(mesh, "users", "-o", "json").stdout) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("ada", "--remove", "--role", "reader"), "--remove goes with a name and nothing else"),
        (
            ("ada", "--remove"),
            "'ada': nobody of that name may use the bus; expected one of: nobody",
        ),
        (("Ada",), "name 'Ada'"),
        (("ada", "--role", "king"), "'king' is not one of 'reader', 'operator'"),
        (("ada", "--expires", "soon"), "'soon' is no duration"),
    ],
)
def test_mistakes_are_told_in_one_line(
    mesh: MeshDirectory, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    result = run(mesh, "user", *arguments)

    assert result.exit_code == 2
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.anyio
async def test_a_reader_s_folder_is_enough_to_hear_the_mesh(tmp_path: Path) -> None:
    async with nats(tmp_path) as running, running.identity():
        port, store = running.server.port, tmp_path / "store"
        bootstrap(running.directory.root, nats_port=port, store_dir=store)
        folder = tmp_path / "ada"
        assert run(running.directory, "user", "ada", "--out", str(folder)).exit_code == 0
        done: list[str] = []

        async def listen() -> None:
            words = ("bus", "sub", "tulle.v1.events.>", "--count", "1", "-o", "json")
            done.append((await tulle_command(*words, mesh=folder)).stdout)

        async with anyio.create_task_group() as group:
            group.start_soon(listen)
            while not done:
                with pytest.raises(NatsError):
                    await running.client(token="nonsense")

        assert json.loads(done[0])["subject"].startswith("tulle.v1.events.identity.")
