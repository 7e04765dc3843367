"""The mesh directory: what lies there can be read, by its owner only, and has not ended.

Whoever operates a mesh from another machine has part of the directory only: what is not there is not
looked at, apart from what every command needs.
"""

from pathlib import Path

from cli.checks.context import Context
from cli.checks.frame import Check, Doubtful, Group, Wrong
from cli.checks.lives import in_time, living, span
from cli.durations import about
from common.errors import InvalidCertificate
from services.identity.authority import Authority

_OVERDUE = 0.8


async def _readable(context: Context) -> str:
    """The mesh directory: where the bus is, whom to trust, the key to come in with."""
    mesh = context.mesh
    where = mesh.bus()
    mesh.anchors()
    mesh.user("person" if where.person else "operator")
    return f"{mesh.root}: {where.trust_domain}, bus at {', '.join(where.servers)}"


async def _private(context: Context) -> str:
    """The modes of all keys and seeds in it."""
    root = context.mesh.root
    open_to_others = [path for path in _secrets(root) if path.stat().st_mode & 0o077]
    if open_to_others:
        shown = ", ".join(str(path.relative_to(root)) for path in open_to_others[:3])
        raise Wrong(f"{shown}: others may read it; expected mode 0600")
    return ""


def _secrets(root: Path) -> list[Path]:
    return sorted(path for kind in ("*.key", "*.seed") for path in root.rglob(kind))


async def _anchors_live(context: Context) -> str:
    """trust/anchor.pem: a warning 60 days before an anchor ends."""
    now = context.clock.now()
    return "; ".join(
        living(f"anchor {number}", *span(anchor), now)
        for number, anchor in enumerate(context.mesh.anchors(), 1)
    )


async def _issuer_fits(context: Context) -> str:
    """The issuer: its key fits, what it signs is believed; a warning 60 days before it ends."""
    mesh = context.mesh
    if not mesh.issuer_key_file.exists():
        return "not in this part of the directory"
    issuer, now = mesh.issuer(), context.clock.now()
    in_time("issuer", *span(issuer.certificate), now)
    try:
        Authority(issuer).prove(mesh.anchors(), mesh.bus().trust_domain, now)
    except InvalidCertificate as error:
        raise Wrong(f"{mesh.issuer_file}: what it signs is not believed: {error}") from None
    return living("issuer", *span(issuer.certificate), now)


async def _server_lives(context: Context) -> str:
    """nats/server.pem: it is renewed when 70 % of its life are over."""
    mesh = context.mesh
    if not mesh.server_file.exists():
        return "not in this part of the directory"
    certificate, now = mesh.certificates(mesh.server_file)[0], context.clock.now()
    begins, ends = span(certificate)
    # It is renewed when 70 % of its life are over, however long that is.
    if begins + _OVERDUE * (ends - begins) < now < ends:
        raise Doubtful(f"it ends in {about(ends - now)}, and should have been renewed")
    return in_time("NATS's certificate", begins, ends, now)


DIRECTORY = Group(
    "mesh directory",
    (
        Check(
            "it can be read",
            _readable,
            "name it with --mesh or TULLE_MESH; python -m services.identity.bootstrap DIR makes one",
            "directory",
            vital=True,
        ),
        Check(
            "keys are readable by their owner only",
            _private,
            "chmod 600 what is named",
            "directory-private",
        ),
        Check(
            "the trust anchors live for 60 days and more",
            _anchors_live,
            "tulle trust rotate puts a new anchor in its place, without interruption",
            "directory-anchors",
        ),
        Check(
            "the issuer leads to an anchor and lives for 60 days and more",
            _issuer_fits,
            "tulle trust rotate makes a new issuer; of cert-manager's, look at its Certificate",
            "directory-issuer",
        ),
        Check(
            "the certificate of NATS is renewed in time",
            _server_lives,
            "identity renews it where it can write it; python -m services.identity.bootstrap DIR does too",
            "directory-nats",
        ),
    ),
)
