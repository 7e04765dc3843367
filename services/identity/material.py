"""What a rotation does to the files of the mesh directory; every part of it can be done again.

While one is under way, `old` and `new` keep both sides, and the files in force are copies: so each step can
be taken back, and whoever comes after a crash lays out again what the progress says.
"""

from collections.abc import Sequence

from cryptography import x509

from common.x509 import chain_pem, key_id
from services.identity.directory import PUBLIC, MeshDirectory, Side, write, write_pair
from services.identity.progress import Progress
from services.identity.roots import Pair, cross_sign, is_old, make_anchor, make_issuer

MOST_CROSSED = 3
"""So many rotations back may somebody have been away, and still know NATS again."""


def make(mesh: MeshDirectory, trust_domain: str, now: float, *, vouched: bool) -> tuple[str, str]:
    """Put a new anchor and its issuer beside those in force; returns the key identifiers of old and new.

    `vouched`: the old anchor signs the new one. Raises InvalidSettings (no anchor key here, say) or OSError.
    """
    old, issuer = mesh.anchor(), mesh.issuer()
    new = make_anchor(trust_domain, now)
    crossed = (cross_sign(new.certificate, old, now),) if vouched else ()
    signer = make_issuer(new, trust_domain, now)
    write_pair(old, *mesh.anchor_files("old"))
    write_pair(issuer, *mesh.issuer_files("old"))
    write_pair(new, *mesh.anchor_files("new"))
    write_pair(Pair((*signer.chain, *crossed), signer.key), *mesh.issuer_files("new"))
    return key_id(old.certificate), key_id(new.certificate)


def lay_out(mesh: MeshDirectory, progress: Progress) -> None:
    """Make the files in force what the progress says; raises InvalidSettings or OSError."""
    if progress.phase == "steady":
        for side in ("old", "new"):
            for path in (*mesh.anchor_files(side), *mesh.issuer_files(side)):
                path.unlink(missing_ok=True)
        return
    old = mesh.pair(*mesh.anchor_files("old"))
    new = mesh.pair(*mesh.anchor_files("new"))
    match progress.phase:
        case "added":
            _use(mesh, Pair((*old.chain, *new.chain), old.key), "old")
        case "switched":
            _use(mesh, Pair((*new.chain, *old.chain), new.key), "new")
        case "removed":
            _use(mesh, new, "new")


def settle(mesh: MeshDirectory, side: Side, now: float, *, forget: bool = False) -> None:
    """Leave one side alone in force; with `forget`, nothing vouches for it any more.

    Raises InvalidSettings or OSError.
    """
    anchor, issuer = mesh.pair(*mesh.anchor_files(side)), mesh.pair(*mesh.issuer_files(side))
    if side == "new":
        known = [] if forget else [*issuer.chain[1:], *crossed(mesh, now)]
        # Each once: a step that was cut short here is taken again.
        known = list(dict.fromkeys(known))
        write(mesh.cross_file, chain_pem(known[:MOST_CROSSED]), PUBLIC)
        issuer = Pair(issuer.chain[:1], issuer.key)
    write_pair(anchor, mesh.anchors_file, mesh.anchor_key_file)
    write_pair(issuer, mesh.issuer_file, mesh.issuer_key_file)


def renew_issuer(mesh: MeshDirectory, trust_domain: str, now: float) -> bool:
    """Another issuer below the same anchor, if most of the life of the one there is is over; says whether.

    Only where the anchor's key is. Raises InvalidSettings or OSError.
    """
    issuer = mesh.issuer().certificate
    if mesh.foreign or not mesh.anchor_key_file.exists() or not is_old(issuer, now):
        return False
    write_pair(
        make_issuer(mesh.anchor(), trust_domain, now), mesh.issuer_file, mesh.issuer_key_file
    )
    return True


def crossed(mesh: MeshDirectory, now: float) -> Sequence[x509.Certificate]:
    """Anchors vouched for by the ones before them, the newest first, as far as they have not ended."""
    if not mesh.cross_file.exists() or not mesh.read(mesh.cross_file).strip():
        return ()
    found = mesh.certificates(mesh.cross_file)
    return [one for one in found if one.not_valid_after_utc.timestamp() > now]


def _use(mesh: MeshDirectory, anchors: Pair, side: Side) -> None:
    write_pair(anchors, mesh.anchors_file, mesh.anchor_key_file)
    write_pair(mesh.pair(*mesh.issuer_files(side)), mesh.issuer_file, mesh.issuer_key_file)
