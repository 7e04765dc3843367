"""Where the mesh directory is kept, and how a change of it becomes durable before anybody acts on it.

Whoever holds the lease changes the draft and then has it kept: only then is it in force. A mesh directory on a
disk that all replicas share is its own draft; in Kubernetes a Secret is what they share (see cluster.mirror).
"""

from typing import ClassVar, Protocol

from common.errors import MeshError
from services.identity.directory import MeshDirectory


class NotKept(MeshError):
    """A change of the mesh directory could not be made durable, and is undone; or it cannot be read."""

    reason: ClassVar[str] = "not-kept"


class Store(Protocol):
    """One replica's hold on the mesh directory."""

    draft: MeshDirectory
    """What the holder of the lease changes."""

    async def look(self) -> None:
        """Have the draft be what is kept, whoever has changed that; raises NotKept."""
        ...

    async def keep(self) -> None:
        """Make the draft durable, and then put it in force; raises NotKept, and the draft is as it was."""
        ...


class InPlace:
    """A mesh directory that is its own draft."""

    def __init__(self, mesh: MeshDirectory) -> None:
        self.draft = mesh

    async def look(self) -> None:
        """It always is."""

    async def keep(self) -> None:
        """It is, as soon as it is written."""
