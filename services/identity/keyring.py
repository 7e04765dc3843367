"""The keys with which identity answers NATS, as they are now: while they are replaced, the old and the new.

A server asks with the keys of the configuration that it has read, and understands an answer that is made
with the same. So whichever server has read which configuration, each is answered.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from services.identity import nkey
from services.identity.directory import MeshDirectory, beside
from services.identity.live import Live
from services.identity.nkey import KeyPair
from services.identity.xkey import BoxKey

K = TypeVar("K", KeyPair, BoxKey)


class Keyring:
    """What signs who is admitted, and what opens the questions, by their public halves."""

    def __init__(self, mesh: MeshDirectory) -> None:
        """Raises InvalidSettings if one of them is missing or malformed."""
        self._accounts = _live(mesh.account_file, lambda path: mesh.seed(path, nkey.ACCOUNT))
        self._boxes = _live(mesh.callout_file, mesh.box)

    @property
    def accounts(self) -> dict[str, KeyPair]:
        """What signs who is admitted."""
        return self._accounts()

    @property
    def boxes(self) -> dict[str, BoxKey]:
        """What opens the questions."""
        return self._boxes()


def _live(path: Path, read: Callable[[Path], K]) -> Live[dict[str, K]]:
    """The key in a file that must be there, and those beside it if there are any."""
    files = (path, beside(path, "new"), beside(path, "old"))

    def found() -> dict[str, K]:
        keys = [read(one) for one in files if one == path or one.exists()]
        return {key.public: key for key in keys}

    return Live(files, found)
