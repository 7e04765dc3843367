"""What a rotation of the bus's own keys does to the files of the mesh directory; all of it can be done again.

While one is under way, `old` and `new` keep both keys, and the file that is used is a copy: so it can be taken
back, and whoever comes after a crash lays out again what the progress says.
"""

from collections.abc import Callable, Collection
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from common.contract.identity import KeyKind
from common.errors import InvalidCertificate, InvalidSettings
from common.files import replace
from common.x509 import generate_key, key_pem, load_key, load_public_keys, public_pem
from services.identity import nats_files, nkey, xkey
from services.identity.directory import PUBLIC, MeshDirectory, Side, beside, write
from services.identity.key_progress import KINDS, KeyProgress
from services.identity.permissions import ROLES

Key = ec.EllipticCurvePublicKey


def used(mesh: MeshDirectory, kind: KeyKind) -> tuple[Path, ...]:
    """Where the keys of a kind are used."""
    match kind:
        case "services":
            return (*map(mesh.seed_file, ROLES), mesh.seed_file("system"))
        case "account":
            return (mesh.account_file,)
        case "callout":
            return (mesh.callout_file,)
        case "tokens":
            return (mesh.tokens_key_file,)


def kinds(mesh: MeshDirectory) -> tuple[KeyKind, ...]:
    """The kinds of keys that this mesh has: in Kubernetes it may do without join tokens."""
    return tuple(kind for kind in KINDS if all(path.exists() for path in used(mesh, kind)))


def make(mesh: MeshDirectory, what: Collection[KeyKind]) -> None:
    """Put new keys beside those in force. Raises InvalidSettings or OSError."""
    for kind in what:
        for path in used(mesh, kind):
            write(beside(path, "old"), mesh.read(path))
            replace(beside(path, "new"), _MADE[kind]())


def lay_out(mesh: MeshDirectory, progress: KeyProgress) -> None:
    """Make the files in force what the progress says; raises InvalidSettings or OSError."""
    if progress.phase == "steady":
        for kind in KINDS:
            for path in used(mesh, kind):
                for side in ("old", "new"):
                    beside(path, side).unlink(missing_ok=True)
        return
    side = progress.going if progress.phase == "added" else progress.coming
    if "tokens" in progress.what:
        _lay_out_tokens(mesh, progress)
    for kind in progress.what:
        for path in used(mesh, kind):
            write(path, mesh.read(beside(path, side)))
    if set(progress.what) != {"tokens"}:
        nats_files.write_configs_again(mesh)


def forget(mesh: MeshDirectory, pem: Collection[str]) -> None:
    """Join tokens that were signed with these keys, public ones, are known no more. Raises as lay_out."""
    gone = [_public(mesh.tokens_file, one.encode()) for one in pem]
    _write_tokens(mesh, [key for key in mesh.token_keys() if key not in gone])


def going_tokens(mesh: MeshDirectory, progress: KeyProgress) -> str:
    """The public key, PEM, that signs join tokens no more. Raises InvalidSettings."""
    return public_pem(_token_key(mesh, progress.going)).decode()


def _lay_out_tokens(mesh: MeshDirectory, progress: KeyProgress) -> None:
    """Both are known, unless the one that goes is distrusted; what somebody has put beside them stays."""
    coming, going = (_token_key(mesh, side) for side in (progress.coming, progress.going))
    others = [key for key in mesh.token_keys() if key not in (coming, going)]
    unknown = progress.distrusts and progress.phase != "added"
    _write_tokens(mesh, [coming, *([] if unknown else [going]), *others])


def _write_tokens(mesh: MeshDirectory, keys: list[Key]) -> None:
    write(mesh.tokens_file, b"".join(map(public_pem, keys)), PUBLIC)


def _token_key(mesh: MeshDirectory, side: Side) -> Key:
    path = beside(mesh.tokens_key_file, side)
    try:
        return load_key(mesh.read(path)).public_key()
    except InvalidCertificate as error:
        raise InvalidSettings(f"{path}: {error}") from None


def _public(path: Path, pem: bytes) -> Key:
    try:
        return load_public_keys(pem)[0]
    except InvalidCertificate as error:
        raise InvalidSettings(f"{path}: {error}") from None


_MADE: dict[KeyKind, Callable[[], bytes]] = {
    "services": lambda: nkey.generate(nkey.USER).seed.encode(),
    "account": lambda: nkey.generate(nkey.ACCOUNT).seed.encode(),
    "callout": lambda: xkey.generate().seed.encode(),
    "tokens": lambda: key_pem(generate_key()),
}
