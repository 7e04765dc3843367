"""A directory of Kubernetes-shaped YAML, followed on disk.

While a file is broken, what it said last stays; the file, the line and the reason are told, once for each
broken version, and once more when it is healed. A directory that cannot be read takes nothing away.
"""

import logging
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread
import msgspec

from common.clock import Clock, SystemClock
from common.latest import Latest
from common.log import fields
from services.destination.resources import Change, Ref
from services.destination.sources.files import Look, Settling, Survey, read, survey
from services.destination.sources.manifest import Manifest, Mistake, read_manifest
from services.destination.sources.overlay import Overlay
from services.destination.sources.standing import OnChanges, Standing, Tell

log = logging.getLogger(__name__)
T = TypeVar("T")

SETTLE = 0.05
"""Seconds for which a file must have been left alone before it is read."""
RETRY = 5.0
"""Seconds after which a file that could not be read is tried again, even if it looks the same."""
_SHARE = 5
"""Looking takes at most one part in so many of a thread's time, however many files there are …"""
_MOST_PAUSE = 2.0
"""… but this is the most that it waits, in seconds, however slow the disk is."""
_MISTAKES_TOLD = 10


class _File(msgspec.Struct):
    """What is remembered of a file."""

    version: bytes = b""
    """A digest of its content, or the words of the error that kept it from being read."""
    broken: bool = False
    understood: bool = False


class Directory:
    """Follows a directory; `on_changes` is called with each batch of changes, on the event loop."""

    def __init__(
        self,
        root: Path,
        on_changes: OnChanges,
        tell: Tell,
        *,
        interval: float = 0.2,
        clock: Clock | None = None,
    ) -> None:
        self.standing = Latest(Standing())
        self._root = root
        self._on_changes = on_changes
        self._tell = tell
        self._interval = interval
        self._clock = clock or SystemClock()
        self._settling = Settling(SETTLE)
        self._overlay = Overlay()
        self._files: dict[str, _File] = {}
        self._retries: dict[str, float] = {}
        self._unreadable: dict[str, str] = {}
        self._doubles: frozenset[tuple[Ref, str, str]] = frozenset()
        self._ignored: set[str] = set()

    async def run(self) -> None:
        """Follow for ever."""
        while True:
            began = self._clock.monotonic()
            found = await _in_thread(partial(survey, self._root))
            now = self._clock.monotonic()
            await self._take(found, now)
            pause = SETTLE if self._settling.restless else self._interval
            await anyio.sleep(max(pause, min((now - began) * _SHARE, _MOST_PAUSE)))

    async def _take(self, found: Survey, now: float) -> None:
        """Read what a survey shows to have changed, and hand on what that means."""
        self._note_unreadable(found.unreadable)
        for path in [path for path, at in self._retries.items() if at <= now]:
            del self._retries[path]
            self._settling.again(path)
        changes: list[Change] = []
        for path, look in list(self._settling.observe(found, now)):
            changes += self._give_up(path) if look is None else await self._read(path, look)
        if changes:
            self._on_changes(changes)
        self._note_doubles()
        self._stand(found)

    def _give_up(self, path: str) -> list[Change]:
        self._settling.done(path, None)
        self._files.pop(path, None)
        log.info("file is gone", extra=fields(file=path))
        return self._overlay.replace(path, ())

    async def _read(self, path: str, look: Look) -> list[Change]:
        """Read a file anew; returns what that changed."""
        file = self._files.get(path, _File())
        try:
            loaded = await _in_thread(partial(_load, self._root / path, look, file.version))
        except FileNotFoundError:
            return []
        except OSError as error:
            loaded = str(error).encode(), _unreadable(error)
            self._retries[path] = self._clock.monotonic() + RETRY
        if loaded is None:  # it is being written: another time
            return []
        self._settling.done(path, look)
        self._files[path] = file
        version, manifest = loaded
        if file.version == version:
            return []
        file.version = version
        if manifest.mistakes:
            self._reject(path, file, manifest)
            return []
        return self._accept(path, file, manifest)

    def _accept(self, path: str, file: _File, manifest: Manifest) -> list[Change]:
        changes = self._overlay.replace(path, manifest.resources)
        count = len(manifest.resources)
        log.info("file read", extra=fields(file=path, objects=count, changes=len(changes)))
        if file.broken:
            self._tell("accepted", f"{path}: in order again", {"file": path})
        file.broken, file.understood = False, True
        for remark in manifest.remarks:
            log.info("remark", extra=fields(file=path, remark=remark))
        for kind in set(manifest.ignored) - self._ignored:
            self._ignored.add(kind)
            log.info("kind ignored", extra=fields(kind=kind, file=path))
        return changes

    def _reject(self, path: str, file: _File, manifest: Manifest) -> None:
        file.broken = True
        first, more = manifest.mistakes[0], len(manifest.mistakes) - _MISTAKES_TOLD
        words = "; ".join(map(str, manifest.mistakes[:_MISTAKES_TOLD]))
        words += f"; and {more} more mistakes" if more > 0 else ""
        told = {"file": path, "line": str(first.line), "path": first.path, "reason": first.message}
        told["kept"] = "the last good state" if file.understood else "nothing"
        self._tell("rejected", f"{path}: {words}", told)

    def _note_unreadable(self, now: dict[str, str]) -> None:
        for path in now.keys() | self._unreadable.keys():
            if now.get(path) == self._unreadable.get(path):
                continue
            name = path or "."
            if path in now:
                told = {"file": name, "reason": now[path], "kept": "the last good state"}
                self._tell("rejected", f"{name}: cannot be read: {now[path]}", told)
            else:
                self._tell("accepted", f"{name}: can be read again", {"file": name})
        self._unreadable = now

    def _note_doubles(self) -> None:
        doubles = frozenset(self._overlay.doubles())
        for ref, path, believed in sorted(doubles - self._doubles):
            message = f"{path}: {ref} stands in {believed} too, which is believed"
            self._tell("shadowed", message, {"file": path, "believed": believed})
        self._doubles = doubles

    def _stand(self, found: Survey) -> None:
        files, directories = self._files, self._unreadable
        dark = {d for d in directories if not any(f.startswith(d and d + "/") for f in files)}
        self.standing.set(
            Standing(
                loaded=self.standing.value.loaded
                or ("" not in directories and found.looks.keys() <= files.keys()),
                broken=frozenset(
                    {path for path, file in files.items() if file.broken}
                    | {directory or "." for directory in directories}
                ),
                unknown=frozenset(
                    {path for path, file in files.items() if not file.understood}
                    | {directory or "." for directory in dark}
                ),
            )
        )


def _load(path: Path, look: Look, version: bytes) -> tuple[bytes, Manifest] | None:
    """A file's version and what it says; None if it does not hold still. Raises OSError."""
    content = read(path, look)
    if content is None:
        return None
    digest = blake2b(content, digest_size=16).digest()
    return digest, Manifest() if digest == version else read_manifest(content)


def _unreadable(error: OSError) -> Manifest:
    return Manifest(mistakes=(Mistake(1, "", f"cannot be read: {error.strerror or error}"),))


async def _in_thread(call: Callable[[], T]) -> T:
    # A network mount may never answer: the program can end all the same.
    return await anyio.to_thread.run_sync(call, abandon_on_cancel=True)
