"""What files say, read again whenever they have changed; what cannot be used leaves in force what there was."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from common.errors import InvalidSettings
from common.log import fields

log = logging.getLogger(__name__)

T = TypeVar("T")
Stamp = tuple[tuple[int, int, int] | None, ...]


def stamped(files: Sequence[Path]) -> Stamp:
    """What changes whenever one of the files does."""
    found: list[tuple[int, int, int] | None] = []
    for path in files:
        try:
            stat = path.stat()
        except OSError:
            found.append(None)
        else:
            found.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(found)


class Live(Generic[T]):
    """What `read` makes of `files`, which are looked at each time that somebody asks."""

    def __init__(self, files: Sequence[Path], read: Callable[[], T]) -> None:
        """Raises what `read` does: InvalidSettings."""
        self._files = files
        self._read = read
        self._seen = stamped(files)
        self._value = read()

    def __call__(self) -> T:
        """What they say now; never raises."""
        found = stamped(self._files)
        if found != self._seen:
            try:
                self._value = self._read()
            except InvalidSettings as error:
                log.warning("what was there stays in force", extra=fields(error=str(error)))
            self._seen = found
        return self._value
