"""How far a rotation of the anchor is: its phases, and the file that survives whoever drives it.

steady ──add──▶ added ──switch──▶ switched ──remove──▶ removed ──finish──▶ steady
   ◀────back─────┘  ◀────back──────┘  ◀──────back───────┘
"""

from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from common.contract.identity import RotationPhase
from common.errors import InvalidSettings
from common.files import replace
from services.identity.directory import MeshDirectory

P = TypeVar("P", bound=msgspec.Struct)
Step = Literal["add", "switch", "remove", "finish", "back"]

TRANSITIONS: dict[tuple[RotationPhase, Step], RotationPhase] = {
    ("steady", "add"): "added",
    ("added", "switch"): "switched",
    ("switched", "remove"): "removed",
    ("removed", "finish"): "steady",
    ("removed", "back"): "switched",
    ("switched", "back"): "added",
    ("added", "back"): "steady",
}
"""What is absent cannot happen."""
FORWARD: dict[RotationPhase, Step] = {
    "steady": "add",
    "added": "switch",
    "switched": "remove",
    "removed": "finish",
}
"""The step that completes each phase; all but the first are taken when everybody has acknowledged it."""


class Retired(msgspec.Struct, frozen=True, kw_only=True):
    """An anchor that is trusted no more; who comes back with a leaf below it may fetch another until then."""

    pem: str
    until: float
    """Seconds since the epoch: then the last leaf below it has ended."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in `rotation.json`."""

    phase: RotationPhase = "steady"
    since: float = 0.0
    old: str = ""
    new: str = ""
    automatic: bool = False
    left_behind: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    """Who was there at some time since the rotation began: they are waited for even when they are silent."""
    retired: tuple[Retired, ...] = ()
    distrusts: bool = False
    """The old anchor's key may be known to others: nothing signed with it opens any door afterwards."""
    completed: int = 0


def load(mesh: MeshDirectory) -> Progress:
    """What the file says; if there is none, that nothing has begun. Raises InvalidSettings."""
    return read(mesh.rotation_file, Progress)


def read(path: Path, kind: type[P]) -> P:
    """The progress in a file; if there is none, that nothing has begun. Raises InvalidSettings."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return kind()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"{path}: {error}; expected the progress of a rotation") from None


def save(mesh: MeshDirectory, progress: Progress) -> None:
    """Write it, all or nothing. Raises OSError."""
    write(mesh.rotation_file, progress)


def write(path: Path, progress: msgspec.Struct) -> None:
    """Write a progress, all or nothing. Raises OSError."""
    replace(path, msgspec.json.encode(progress) + b"\n", 0o644)
