"""What of the mesh directory lies where in a cluster, as a function of the directory alone.

The Secret `tulle-mesh` holds all of it, a key for each file. Everything else is derived from that: it gives
each program what it needs to read, and no more.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from common.errors import InvalidSettings
from common.files import private_folder, replace
from common.kube.stored import KindOfData, Stored
from common.version import VERSION
from services.identity import nats_config
from services.identity.directory import MeshDirectory
from services.identity.permissions import ROLES

MESH, ISSUER, TRUST, NATS = "tulle-mesh", "tulle-issuer", "tulle-trust", "tulle-nats"
MOUNTED_AT = Path("/mesh")
"""Where NATS has its files: `tulle-nats` in `nats/` below."""
FOREIGN = ("tls.crt", "tls.key", "ca.crt")
"""The keys of `tulle-issuer`, and the files in `issuer/`: they come from there and are never written back."""
_FOLDERS = ("trust", "issuer", "tokens", "nats", "keys")
_KEY = re.compile(
    rf"(?:({'|'.join(_FOLDERS)})\.([A-Za-z0-9_-][A-Za-z0-9._-]*)|([A-Za-z0-9_-]+\.json))"
)


def key_of(path: PurePosixPath) -> str:
    """The key of a file: `trust/anchor.pem` is `trust.anchor.pem`."""
    return ".".join(path.parts)


def path_of(key: str) -> PurePosixPath | None:
    """The file of a key; None if it is none of the mesh directory's."""
    match = _KEY.fullmatch(key)
    if match is None:
        return None
    folder, name, alone = match.groups()
    if folder == "issuer" and name in FOREIGN:
        return None
    return PurePosixPath(folder, name) if folder else PurePosixPath(alone)


def pack(root: Path) -> dict[str, bytes]:
    """What `tulle-mesh` is to hold for the directory at `root`. Raises OSError."""
    found: dict[str, bytes] = {}
    for folder in (root, *(root / name for name in _FOLDERS)):
        for path in sorted(folder.glob("*")):
            place = PurePosixPath(path.relative_to(root))
            if path.is_file() and path_of(key_of(place)) == place:
                found[key_of(place)] = path.read_bytes()
    return found


def unpack(data: Mapping[str, bytes], root: Path) -> None:
    """Make the directory at `root` hold just this; its folders are made. Raises OSError."""
    for folder in (root, *(root / name for name in _FOLDERS)):
        private_folder(folder)
    wanted = {path: value for key, value in data.items() if (path := path_of(key)) is not None}
    # Keys first: beside a key lie its certificates, and these two are to fit at every moment.
    for path in sorted(wanted, key=lambda path: (path.suffix != ".key", path)):
        _write(root / path, wanted[path])
    for key in pack(root).keys() - data.keys():
        root.joinpath(str(path_of(key))).unlink(missing_ok=True)


def place_issuer(issuer: Mapping[str, bytes] | None, root: Path) -> None:
    """Put what `tulle-issuer` holds where an issuer from elsewhere lies, or take it away. Raises OSError."""
    for name in reversed(FOREIGN):
        path = root / "issuer" / name
        if issuer and issuer.get(name):
            _write(path, issuer[name])
        else:
            path.unlink(missing_ok=True)


def whole(root: Path) -> Stored:
    """The Secret `tulle-mesh` for the directory at `root`. Raises OSError."""
    return _stored("Secret", MESH, "identity", pack(root))


def derived(mesh: MeshDirectory) -> list[Stored]:
    """Everything that follows from the mesh directory, as it is to be; raises InvalidSettings, OSError."""
    anchors = mesh.anchors_pem().encode()
    seeds = {role: mesh.read(mesh.seed_file(role)) for role in ROLES if role != "identity"}
    return [
        _stored("ConfigMap", TRUST, "identity", {"anchor.pem": anchors}),
        _stored("Secret", NATS, "nats", _of_nats(mesh)),
        *(
            _stored("Secret", f"tulle-bus-{role}", role, {"nkey.seed": seed})
            for role, seed in seeds.items()
        ),
    ]


def names() -> list[tuple[KindOfData, str]]:
    """What is derived, whatever the directory holds."""
    bus: list[tuple[KindOfData, str]] = [
        ("Secret", f"tulle-bus-{role}") for role in ROLES if role != "identity"
    ]
    return [("ConfigMap", TRUST), ("Secret", NATS), *bus]


def nats_tag(mesh: MeshDirectory) -> str:
    """What servers that have read all that is for them are tagged with; raises InvalidSettings, OSError."""
    return _tag(_files_of_nats(mesh))


def _write(path: Path, value: bytes) -> None:
    # A copy: what is durable is the Secret.
    if not path.exists() or path.read_bytes() != value:
        replace(path, value, durable=False)


def _of_nats(mesh: MeshDirectory) -> dict[str, bytes]:
    """What the servers read. It changes as a whole, and each configuration says of which whole it is.

    A server tells its tags, so that one sees which files it has read: those in a pod are up to date some
    time after the Secret is.
    """
    files = _files_of_nats(mesh)
    tag = _tag(files)
    return {
        name: nats_config.marked(data.decode(), tag).encode() if name.endswith(".conf") else data
        for name, data in files.items()
    }


def _files_of_nats(mesh: MeshDirectory) -> dict[str, bytes]:
    configs = sorted((mesh.root / "nats").glob("*.conf"))
    if not configs:
        raise InvalidSettings(f"{mesh.nats_config_file}: not there; expected a mesh directory")
    files = {path.name: mesh.read(path) for path in configs}
    files["server.pem"] = mesh.read(mesh.server_file)
    files["server.key"] = mesh.read(mesh.server_key_file)
    if len(configs) > 1:
        # By which they know each other; a single one reads none.
        files["anchor.pem"] = mesh.anchors_pem().encode()
    return files


def _tag(files: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, data in sorted(files.items()):
        digest.update(f"{name}:{len(data)}:".encode() + data)
    return f"files:{digest.hexdigest()[:32]}"


def _stored(kind: KindOfData, name: str, component: str, data: Mapping[str, bytes]) -> Stored:
    labels = {
        "app.kubernetes.io/name": "tulle",
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": "tulle",
        "app.kubernetes.io/version": VERSION,
        "app.kubernetes.io/managed-by": "tulle-identity",
    }
    return Stored(kind=kind, name=name, data=data, labels=labels)
