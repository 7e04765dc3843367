"""People who may use the bus: each has a name, a role and a key of their own, and can be told to leave.

The file holds public keys only. It is read again whenever it has changed, so that somebody who was
removed does not come in again, and is shown out within a second (see turnout).
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from common.errors import InvalidName, InvalidSettings, InvalidToken
from common.files import replace
from common.names import check_label
from services.identity import nkey
from services.identity.permissions import PersonRole


class Person(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody who may use the bus, by name."""

    name: str
    role: PersonRole
    key: str
    """Public nkey of a user."""
    expires: float | None = None
    """Seconds since the epoch; absent: until removed."""

    @property
    def admitted_as(self) -> str:
        """What their connections are called. It says all of the above, and is no workload's name."""
        return f"_/{self.name}/{self.role}/{self.key}/{self.expires or 0:.0f}"


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    people: tuple[Person, ...] = ()


def read(path: Path) -> tuple[Person, ...]:
    """Everybody in the file; nobody if there is none. Raises InvalidSettings."""
    try:
        people = msgspec.json.decode(path.read_bytes(), type=_File).people
        for person in people:
            check_label(person.name, "name")
            nkey.check_public(person.key, nkey.USER)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise InvalidSettings(f"{path}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, InvalidName, InvalidToken) as error:
        raise InvalidSettings(f"{path}: {error}") from None
    for what, seen in (("name", [p.name for p in people]), ("key", [p.key for p in people])):
        if len(set(seen)) < len(seen):
            raise InvalidSettings(f"{path}: expected a different {what} for each")
    return people


@contextmanager
def changing(path: Path) -> Iterator[tuple[Person, ...]]:
    """Everybody in the file, which nobody else who asks in this way changes meanwhile.

    Waits for whoever is at it. Raises InvalidSettings.
    """
    try:
        # The folder is locked: the file itself is replaced.
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise InvalidSettings(f"{path.parent}: {error.strerror}") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield read(path)
    finally:
        os.close(folder)


def write(path: Path, people: tuple[Person, ...]) -> None:
    """Put these in place of those who were there, in one step. Raises OSError."""
    replace(path, msgspec.json.format(msgspec.json.encode(_File(people))) + b"\n")


@dataclass
class People:
    """The people in a file, as it is now."""

    path: Path

    def __post_init__(self) -> None:
        self._seen: tuple[int, ...] = ()
        self._people: dict[str, Person] = {}
        self._mistake = ""

    def find(self, key: str, now: float) -> Person:
        """Who has that public key; raises InvalidToken that says why nobody has."""
        self._look()
        person = self._people.get(key)
        if person is None:
            # A file that cannot be read names nobody: who was removed must not come in by a mistake.
            raise InvalidToken(self._mistake or f"nkey {key}: of nobody known")
        if person.expires is not None and person.expires <= now:
            raise InvalidToken(f"nkey {key}: {person.name} was admitted until {person.expires:.0f}")
        return person

    def admitted_as(self) -> frozenset[str]:
        """What connections of people may be called now."""
        self._look()
        return frozenset(person.admitted_as for person in self._people.values())

    @property
    def mistake(self) -> str:
        """Why the file could not be read; empty if it could, or is not there."""
        self._look()
        return self._mistake

    def _look(self) -> None:
        try:
            found = self.path.stat()
            seen: tuple[int, ...] = (found.st_mtime_ns, found.st_size, found.st_ino)
        except OSError:
            seen = ()
        if seen == self._seen:
            return
        try:
            people, self._mistake = read(self.path), ""
        except InvalidSettings as error:
            people, self._mistake = (), str(error)
        self._seen = seen
        self._people = {person.key: person for person in people}
