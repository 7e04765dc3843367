"""Partial copies of the mesh directory, kept current: each holds what somebody else needs of it.

A container of NATS, or of a service, has a volume with its own few files, in folders and under names as in
the mesh directory. What is in such a part is decided by whoever made it; here it is only brought up to date.
"""

from collections.abc import Iterator
from pathlib import Path

from services.identity.directory import MeshDirectory, write


class Parts:
    """The folders in `folder`, each a part of `mesh`; without a folder there are none."""

    def __init__(self, mesh: MeshDirectory, folder: Path | None) -> None:
        self._mesh = mesh
        self._folder = folder

    def keep(self) -> None:
        """Write every file of a part that is not as in the mesh directory. Raises OSError, InvalidSettings."""
        for copy, original in self._pairs():
            write(copy, self._mesh.read(original), original.stat().st_mode & 0o777)

    def _pairs(self) -> Iterator[tuple[Path, Path]]:
        if self._folder is None:
            return
        for part in sorted(self._folder.iterdir()):
            for copy in sorted(part.rglob("*")):
                original = self._mesh.root / copy.relative_to(part)
                if copy.is_file() and not copy.is_symlink() and original.is_file():
                    yield copy, original
