"""What a person is given to use the bus: a folder with their key, whom to trust, and where the bus is.

It has the layout of a mesh directory, so `tulle --mesh FOLDER` works with it, as far as the person may.
The key is made here and lies nowhere else; the mesh remembers its public half.
"""

from pathlib import Path

import msgspec

from common.clock import Clock
from common.contract import subjects
from common.errors import InvalidName, InvalidSettings
from common.files import private_folder
from common.names import check_label
from services.identity import nkey, people
from services.identity.directory import PUBLIC, MeshDirectory, write
from services.identity.people import Person
from services.identity.permissions import PersonRole


def add(
    mesh: MeshDirectory, name: str, role: PersonRole, folder: Path, expires: float | None = None
) -> Person:
    """Let somebody use the bus, and lay into `folder` what they need for it.

    Raises InvalidName, InvalidSettings (the name or the folder is taken) or OSError.
    """
    check_label(name, "name")
    with people.changing(mesh.people_file) as known:
        if any(person.name == name for person in known):
            raise InvalidSettings(f"{name}: may use the bus already; remove them first")
        if folder.exists() and any(folder.iterdir()):
            raise InvalidSettings(f"{folder}: holds something; expected a new or an empty folder")
        key = nkey.generate(nkey.USER)
        person = Person(name=name, role=role, key=key.public, expires=expires)
        _lay_out(mesh, person, key.seed, folder)
        people.write(mesh.people_file, (*known, person))
        return person


def remove(mesh: MeshDirectory, name: str) -> Person:
    """Let somebody use the bus no more.

    Raises InvalidName if nobody has that name, InvalidSettings or OSError.
    """
    with people.changing(mesh.people_file) as known:
        for person in known:
            if person.name == name:
                people.write(mesh.people_file, tuple(p for p in known if p is not person))
                return person
    names = ", ".join(sorted(person.name for person in known)) or "nobody"
    raise InvalidName(f"{name!r}: nobody of that name may use the bus; expected one of: {names}")


def forget_expired(mesh: MeshDirectory, clock: Clock) -> None:
    """Take those out of the file whose time is over. Raises InvalidSettings, OSError."""
    with people.changing(mesh.people_file) as known:
        left = tuple(p for p in known if p.expires is None or p.expires > clock.now())
        if left != known:
            people.write(mesh.people_file, left)


def nats_options(folder: Path, name: str) -> tuple[str, ...]:
    """The options of NATS's own tool `nats` with which it is that person."""
    given = MeshDirectory(folder.resolve())
    return (
        *("--server", ",".join(given.bus().servers)),
        *("--nkey", str(given.seed_file("person"))),
        *("--tlsca", str(given.anchors_file)),
        *("--inbox-prefix", subjects.person_inbox(name)),
    )


def _lay_out(mesh: MeshDirectory, person: Person, seed: str, folder: Path) -> None:
    given = MeshDirectory(folder)
    for path in (folder, folder / "keys", folder / "trust"):
        private_folder(path)
    write(given.seed_file("person"), seed.encode())
    write(given.anchors_file, mesh.anchors_pem().encode(), PUBLIC)
    settings = msgspec.structs.replace(mesh.bus(), person=person.name)
    write(given.bus_file, msgspec.json.encode(settings) + b"\n", PUBLIC)
