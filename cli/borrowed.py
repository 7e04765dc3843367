"""Some files of the mesh directory, for a command that works on them; in a cluster, from its Secret."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.cluster import Cluster, anchors, refused
from cli.mesh import named_mesh, run
from common.errors import KubernetesRefused
from common.files import private_folder
from common.kube.client import CONFLICT, NOT_FOUND
from common.kube.stored import Shelf, Stored
from services.identity.cluster.layout import MESH, path_of
from services.identity.directory import MeshDirectory, write

PEOPLE = "people.json"
"""What is written back if it was changed; identity takes it from there."""
BUS, TOKENS = "bus.json", "tokens.tokens.key"
_TRIES = 3


@contextmanager
def borrowed(*keys: str) -> Iterator[MeshDirectory]:
    """The mesh directory; of a cluster one in a folder of our own, with the files of these keys alone.

    Raises UsageError, InvalidSettings, KubernetesUnavailable, KubernetesRefused, OSError.
    """
    way = named_mesh()
    if way.directory is not None or way.cluster is None:
        assert way.directory is not None
        yield way.directory
        return
    with tempfile.TemporaryDirectory(prefix="tulle-") as folder:
        mesh = MeshDirectory(Path(folder))
        before = _lend(way.cluster, mesh, keys)
        yield mesh
        after = mesh.people_file.read_bytes() if mesh.people_file.exists() else b""
        if PEOPLE in keys and after != before:
            _give_back(way.cluster, before, after)


def _lend(cluster: Cluster, mesh: MeshDirectory, keys: tuple[str, ...]) -> bytes:
    """Write the files; what PEOPLE holds."""

    async def ask() -> tuple[Stored, str]:
        async with cluster.client() as client:
            return await _mesh(Shelf(client, cluster.namespace), cluster), await anchors(
                cluster, client
            )

    held, pem = run(ask)
    for key in keys:
        path = path_of(key)
        if path is not None and key in held.data:
            private_folder(mesh.root / path.parent)
            write(mesh.root / path, held.data[key])
    private_folder(mesh.anchors_file.parent)
    write(mesh.anchors_file, pem.encode())
    return held.data.get(PEOPLE, b"")


def _give_back(cluster: Cluster, before: bytes, after: bytes) -> None:
    async def change() -> None:
        async with cluster.client() as client:
            shelf = Shelf(client, cluster.namespace)
            for _ in range(_TRIES):
                held = await _mesh(shelf, cluster)
                if held.data.get(PEOPLE, b"") != before:
                    break
                # Identity may have written something else meanwhile.
                if await _changed(shelf, cluster, held, after):
                    return
        raise KubernetesRefused(
            f"{cluster}: Secret {MESH} was changed by somebody else; try again", CONFLICT
        )

    run(change)


async def _changed(shelf: Shelf, cluster: Cluster, held: Stored, after: bytes) -> bool:
    try:
        return await shelf.change(held, {**held.data, PEOPLE: after}) is not None
    except KubernetesRefused as error:
        raise refused(cluster, f"change Secret {MESH}", error) from None


async def _mesh(shelf: Shelf, cluster: Cluster) -> Stored:
    try:
        found = await shelf.read("Secret", MESH)
    except KubernetesRefused as error:
        raise refused(cluster, f"read Secret {MESH}", error) from None
    if found is None:
        raise KubernetesRefused(
            f"{cluster}: there is no Secret {MESH} in namespace {cluster.namespace}", NOT_FOUND
        )
    return found
