"""Documents kept on disk, so that a proxy that restarts while the bus is away knows what it knew.

Only what is followed now is kept. A document is never a secret: keys are kept elsewhere.
"""

import logging
import os
from pathlib import Path
from typing import Any, TypeVar

import anyio
import msgspec

from common.contract.topic import State
from common.errors import InvalidMessage
from common.log import fields

M = TypeVar("M", bound=msgspec.Struct)
log = logging.getLogger(__name__)

FILE = "documents.json"
_SAVE_SECONDS = 1.0


class _Entry(msgspec.Struct):
    """One document as it came."""

    revision: int
    document: msgspec.Raw


class Kept:
    """The documents of one proxy, by subject; saved within a second of a change."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        self._entries = _load(self._path)
        self._dirty = False

    def get(self, state: State[M]) -> tuple[M, int] | None:
        """The kept document and its revision; None if there is none that can be read."""
        entry = self._entries.get(state.subject)
        if entry is None:
            return None
        try:
            return state.decode(bytes(entry.document)), entry.revision
        except InvalidMessage:
            return None

    def put(self, state: State[M], document: M, revision: int) -> None:
        """Keep this one from now on."""
        known = self._entries.get(state.subject)
        if known is None or known.revision != revision:
            self._entries[state.subject] = _Entry(revision, msgspec.Raw(state.encode(document)))
            self._dirty = True

    def drop(self, state: State[Any]) -> None:
        """Keep it no longer."""
        self._dirty |= self._entries.pop(state.subject, None) is not None

    def save(self) -> None:
        """Write what changed, all or nothing; a disk that refuses is told once a try and survived."""
        if not self._dirty:
            return
        new = self._path.with_suffix(".new")
        try:
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(self._entries))
            new.replace(self._path)
            self._dirty = False
        except OSError as error:
            log.warning("documents not kept", extra=fields(path=self._path, error=error))

    async def run(self) -> None:
        """Save changes for ever."""
        while True:
            await anyio.sleep(_SAVE_SECONDS)
            self.save()


def _load(path: Path) -> dict[str, _Entry]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, _Entry])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        log.warning(
            "kept documents cannot be read: starting without", extra=fields(path=path, error=error)
        )
        return {}
