"""Which files of a directory changed, seen by looking again and again.

Looking works everywhere: on network and container mounts, across renames and swapped symbolic links (as
Kubernetes does with a ConfigMap), with editors that replace a file or write it in place.
"""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec

FILE_LIMIT = 4 * 1024 * 1024
"""Bytes in one file at most."""
FILES_LIMIT = 10_000
DEPTH_LIMIT = 16
SUFFIXES = (".yaml", ".yml")


class Look(msgspec.Struct, frozen=True):
    """What a file looked like from outside: when any of it is another, so may be the content."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


class Survey(msgspec.Struct):
    """What there is under a directory."""

    looks: dict[str, Look]
    """Of each YAML file, by its path below the directory."""
    unreadable: dict[str, str]
    """Why, by the path below the directory of what could not be looked into (the directory itself: ``)."""

    def hides(self, path: str) -> bool:
        """True if the file may still be there, in what could not be looked into."""
        return any(not d or path.startswith(d + "/") for d in self.unreadable)


def survey(root: Path) -> Survey:
    """Look at every `*.yaml` and `*.yml` under `root`; never raises.

    Hidden files and directories are passed over, symbolic links followed, loops entered once.
    """
    found = Survey({}, {})
    _enter(os.fspath(root), "", found, set(), 0)
    return found


def _enter(
    directory: str, below: str, found: Survey, entered: set[tuple[int, int]], depth: int
) -> None:
    try:
        where = os.stat(directory)
        if (where.st_dev, where.st_ino) in entered or depth > DEPTH_LIMIT:
            return
        entered.add((where.st_dev, where.st_ino))
        with os.scandir(directory) as entries:
            visible = sorted((e.name, e) for e in entries if not e.name.startswith("."))
    except OSError as error:
        found.unreadable[below] = error.strerror or str(error)
        return
    for name, entry in visible:
        path = f"{below}/{name}" if below else name
        try:
            if entry.is_dir():
                _enter(entry.path, path, found, entered, depth + 1)
            elif name.endswith(SUFFIXES) and entry.is_file():
                found.looks[path] = _look(entry.stat())
        except OSError:
            continue  # a link to nothing or to itself, or gone since it was listed
    if len(found.looks) > FILES_LIMIT:
        found.looks = dict(islice(found.looks.items(), FILES_LIMIT))
        found.unreadable[below] = f"more than {FILES_LIMIT} files"


def read(path: Path, expected: Look) -> bytes | None:
    """The content of a file; None if it is no longer as expected, or changes while it is read.

    One byte more than FILE_LIMIT is read at most. Raises OSError.
    """
    # Without O_NONBLOCK, a file replaced by a pipe would keep us waiting for ever.
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(handle, "rb") as file:
        if _look(os.fstat(handle)) != expected:
            return None
        content = file.read(FILE_LIMIT + 1)
        return content if _look(os.fstat(handle)) == expected else None


def _look(status: os.stat_result) -> Look:
    return Look(
        status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    )


class Settling:
    """Tells which files changed and have then been left alone for `seconds`.

    So a file is not read while it is being written, and one that an editor takes away for a moment is
    not taken for deleted.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._known: dict[str, Look] = {}
        self._unsettled: dict[str, tuple[Look | None, float]] = {}

    @property
    def restless(self) -> bool:
        """Some file is on its way: look again soon."""
        return bool(self._unsettled)

    def observe(self, found: Survey, now: float) -> Iterator[tuple[str, Look | None]]:
        """The files to be read now (or, with None, to be given up), in order; `now` is monotonic."""
        if found.looks == self._known and not self._unsettled:
            return
        for path in sorted(self._known.keys() | found.looks.keys() | self._unsettled.keys()):
            look = found.looks.get(path)
            if look == self._known.get(path) or (look is None and found.hides(path)):
                self._unsettled.pop(path, None)
                continue
            before, since = self._unsettled.get(path, (None, now))
            if path not in self._unsettled or before != look:
                self._unsettled[path] = (look, now)
            elif now - since >= self._seconds:
                yield path, look

    def again(self, path: str) -> None:
        """Name the file once more, as if it had changed."""
        self._known.pop(path, None)

    def done(self, path: str, look: Look | None) -> None:
        """The file has been dealt with as it looks: it is not named again until it changes."""
        self._unsettled.pop(path, None)
        if look is None:
            self._known.pop(path, None)
        else:
            self._known[path] = look
