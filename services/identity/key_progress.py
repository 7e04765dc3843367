"""How far a rotation of the bus's own keys is: the file that survives whoever drives it.

Its phases, and the way from one to the next, are those of a rotation of the anchor: see progress. Taken
back, it does the same with the old keys for the new ones.
"""

from typing import get_args

import msgspec

from common.contract.identity import KeyKind, RotationPhase
from services.identity import progress as progresses
from services.identity.directory import MeshDirectory, Side
from services.identity.progress import Retired

KINDS: tuple[KeyKind, ...] = get_args(KeyKind)
LIVE: tuple[KeyKind, ...] = ("services", "tokens")
"""Those that need no restart of NATS."""


class KeyProgress(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in `keys/rotation.json`."""

    phase: RotationPhase = "steady"
    since: float = 0.0
    what: tuple[KeyKind, ...] = ()
    coming: Side = "new"
    """The keys that are to be in force in the end."""
    left_behind: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    """Services that were there at some time since it began: they are waited for even when they are not."""
    distrusts: bool = False
    retired: tuple[Retired, ...] = ()
    """Public keys of join tokens that sign no more: what they signed is good until its end."""
    changed: dict[KeyKind, float] = {}
    """When keys were replaced, seconds since the epoch; those that are not named are as old as their files."""
    completed: int = 0

    @property
    def going(self) -> Side:
        """The keys that are not."""
        return "old" if self.coming == "new" else "new"

    def has(self, kind: KeyKind, *phases: RotationPhase) -> bool:
        """Whether keys of that kind are being replaced, and that is in one of `phases`."""
        return kind in self.what and self.phase in phases


def load(mesh: MeshDirectory) -> KeyProgress:
    """What the file says; if there is none, that nothing has begun. Raises InvalidSettings."""
    return progresses.read(mesh.key_rotation_file, KeyProgress)


def save(mesh: MeshDirectory, progress: KeyProgress) -> None:
    """Write it, all or nothing. Raises OSError."""
    progresses.write(mesh.key_rotation_file, progress)
