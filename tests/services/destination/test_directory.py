"""The follower on real files, with everything that editors, mounts and accidents do to them."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from services.destination.resources import Change, Pod, Put, Ref, Removed, Resource
from services.destination.sources.directory import Directory
from services.destination.sources.files import FILE_LIMIT
from tests.support.nats import until

pytestmark = pytest.mark.anyio


def pod(name: str, ip: str = "10.0.0.1") -> str:
    return f"---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nstatus: {{podIP: {ip}}}\n"


class Watched:
    """A directory that is followed, and what came of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.objects: dict[Ref, Resource] = {}
        self.told: list[tuple[str, dict[str, str]]] = []
        self.follower = Directory(root, self._take, self._tell, interval=0.02)

    def _take(self, changes: list[Change]) -> None:
        for change in changes:
            match change:
                case Put(resource):
                    self.objects[resource.ref] = resource
                case Removed(ref):
                    del self.objects[ref]

    def _tell(self, what: str, message: str, fields: dict[str, str]) -> None:
        self.told.append((what, fields))

    @property
    def names(self) -> set[str]:
        return {ref.name for ref in self.objects}

    @property
    def words(self) -> list[str]:
        return [what for what, _ in self.told]

    def address(self, name: str) -> str:
        found = self.objects[Ref("Pod", "default", name)]
        assert isinstance(found, Pod)
        return found.addresses[0]

    def write(self, path: str, text: str) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    async def loaded(self) -> None:
        with anyio.fail_after(10):
            await self.follower.standing.wait_for(lambda standing: standing.loaded)

    async def broken(self, *paths: str) -> None:
        with anyio.fail_after(10):
            await self.follower.standing.wait_for(lambda standing: standing.broken == {*paths})


@asynccontextmanager
async def following(root: Path) -> AsyncIterator[Watched]:
    watched = Watched(root)
    async with anyio.create_task_group() as group:
        group.start_soon(watched.follower.run)
        yield watched
        group.cancel_scope.cancel()


async def test_files_are_found_at_every_depth_and_hidden_ones_passed_over(tmp_path: Path) -> None:
    for path, name in (("a.yaml", "a"), ("deep/er/b.yml", "b"), ("c.json", "c"), (".d.yaml", "d")):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(pod(name))
    async with following(tmp_path) as watched:
        await watched.loaded()

        assert watched.names == {"a", "b"}


async def test_an_edit_a_rename_and_a_deletion_are_followed(tmp_path: Path) -> None:
    async with following(tmp_path) as watched:
        file = watched.write("a.yaml", pod("a"))
        await until(lambda: watched.names == {"a"})

        file.write_text(pod("a", "10.0.0.2"))
        await until(lambda: watched.address("a") == "10.0.0.2")
        file.rename(tmp_path / "b.yaml")
        (tmp_path / "c.yaml").write_text(pod("c"))
        await until(lambda: watched.names == {"a", "c"})
        (tmp_path / "b.yaml").unlink()
        await until(lambda: watched.names == {"c"})
        (tmp_path / "c.yaml").write_text("")
        await until(lambda: watched.names == set())


async def test_a_file_that_is_replaced_in_one_step_by_one_of_equal_size_and_time_is_seen(
    tmp_path: Path,
) -> None:
    async with following(tmp_path) as watched:
        file = watched.write("a.yaml", pod("a", "10.0.0.1"))
        await until(lambda: watched.names == {"a"})

        new = tmp_path / ".new"
        new.write_text(pod("a", "10.0.0.2"))
        os.utime(new, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
        new.replace(file)

        await until(lambda: watched.address("a") == "10.0.0.2")


async def test_a_broken_file_keeps_its_last_good_state_and_is_told_once(tmp_path: Path) -> None:
    async with following(tmp_path) as watched:
        file = watched.write("a.yaml", pod("a") + pod("b"))
        await until(lambda: watched.names == {"a", "b"})

        file.write_text(pod("a") + "kind: [\n")
        await watched.broken("a.yaml")
        os.utime(file)
        watched.write("sign.yaml", pod("sign"))
        await until(lambda: "sign" in watched.names)

        assert watched.names == {"a", "b", "sign"}
        ((what, told),) = watched.told
        assert what == "rejected"
        assert told["file"] == "a.yaml"
        assert told["line"] == "6"
        assert told["kept"] == "the last good state"

        file.write_text(pod("a") + "kind: {\n")
        await until(lambda: watched.words == ["rejected", "rejected"])
        file.write_text(pod("a"))
        await until(lambda: watched.names == {"a", "sign"})
        assert watched.words == ["rejected", "rejected", "accepted"]


async def test_a_file_broken_from_the_start_is_unknown_until_it_is_healed(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: *b\n")
    (tmp_path / "b.yaml").write_text(pod("b"))
    async with following(tmp_path) as watched:
        await watched.loaded()

        assert watched.follower.standing.value.unknown == {"a.yaml"}
        assert watched.names == {"b"}
        watched.write("a.yaml", pod("a"))
        await watched.broken()
        assert watched.follower.standing.value.unknown == set()
        assert watched.words == ["rejected", "accepted"]


async def test_of_an_object_in_two_files_the_first_by_name_is_believed(tmp_path: Path) -> None:
    async with following(tmp_path) as watched:
        watched.write("b.yaml", pod("a", "10.0.0.2"))
        await until(lambda: watched.names == {"a"})

        watched.write("a.yaml", pod("a", "10.0.0.1"))
        await until(lambda: watched.address("a") == "10.0.0.1")
        await until(lambda: watched.words == ["shadowed"])
        assert watched.told[0][1] == {"file": "b.yaml", "believed": "a.yaml"}

        (tmp_path / "a.yaml").unlink()
        await until(lambda: watched.address("a") == "10.0.0.2")


async def test_a_swapped_symbolic_link_changes_all_files_behind_it(tmp_path: Path) -> None:
    """As Kubernetes mounts a ConfigMap: files are links through `..data`, which is swapped."""
    for version, ip in (("..1", "10.0.0.1"), ("..2", "10.0.0.2")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "a.yaml").write_text(pod("a", ip))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    async with following(tmp_path) as watched:
        await until(lambda: watched.names == {"a"})

        (tmp_path / "..new").symlink_to("..2")
        (tmp_path / "..new").replace(tmp_path / "..data")

        await until(lambda: watched.address("a") == "10.0.0.2")


async def test_links_in_a_circle_and_to_nothing_and_pipes_are_survived(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to(".")
    (tmp_path / "nothing.yaml").symlink_to("nowhere")
    (tmp_path / "self.yaml").symlink_to("self.yaml")
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "a.yaml").write_text(pod("a"))
    async with following(tmp_path) as watched:
        await watched.loaded()

        assert watched.names == {"a"}
        assert watched.words == []


async def test_a_file_that_is_too_large_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "large.yaml").write_text("#" * (FILE_LIMIT + 1))
    (tmp_path / "a.yaml").write_text(pod("a"))
    async with following(tmp_path) as watched:
        await watched.loaded()

        assert watched.names == {"a"}
        assert watched.told[0][1]["reason"].startswith("expected at most")


async def test_a_directory_that_goes_away_takes_nothing_with_it(tmp_path: Path) -> None:
    root = tmp_path / "mesh"
    root.mkdir()
    (root / "a.yaml").write_text(pod("a"))
    async with following(root) as watched:
        await watched.loaded()

        root.rename(tmp_path / "away")
        await watched.broken(".")
        assert watched.names == {"a"}
        (tmp_path / "away").rename(root)
        await watched.broken()

        assert watched.words == ["rejected", "accepted"]
        assert watched.names == {"a"}


async def test_a_directory_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    async with following(tmp_path / "later") as watched:
        await watched.broken(".")
        assert not watched.follower.standing.value.loaded

        watched.write("a.yaml", pod("a"))
        await watched.loaded()

        assert watched.names == {"a"}


async def test_a_removed_folder_takes_its_files_with_it(tmp_path: Path) -> None:
    async with following(tmp_path) as watched:
        file = watched.write("deep/a.yaml", pod("a"))
        await until(lambda: watched.names == {"a"})

        file.unlink()
        file.parent.rmdir()

        await until(lambda: watched.names == set())


async def test_a_file_that_cannot_be_read_is_rejected_and_accepted_later(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.symlink_to("/proc/self/mem")  # a regular file that not even root can read from its start
    async with following(tmp_path) as watched:
        await watched.broken("a.yaml")
        assert watched.told[0][1]["reason"] == "cannot be read: Input/output error"

        file.unlink()
        file.write_text(pod("a"))
        await until(lambda: watched.names == {"a"})

        assert watched.words == ["rejected", "accepted"]


async def test_kinds_that_are_not_for_the_mesh_do_no_harm(tmp_path: Path) -> None:
    async with following(tmp_path) as watched:
        watched.write("a.yaml", "apiVersion: v1\nkind: Secret\n" + pod("a"))

        await until(lambda: watched.names == {"a"})
        assert watched.words == []
