"""NATS: it lets the operator in, and retains what it must."""

from cli.checks.context import Context
from cli.checks.frame import Check, Doubtful, Group, Wrong
from common.contract import subjects
from common.x509 import key_id, load_certificates


async def _reachable(context: Context) -> str:
    await context.bus()
    return ", ".join(context.mesh.bus().servers)


async def _trust_published(context: Context) -> str:
    found = await (await context.bus()).get(subjects.trust())
    if found is None:
        raise Wrong("no trust bundle was ever published")
    domain = context.mesh.bus().trust_domain
    if found.message.trust_domain != domain:
        raise Wrong(f"it is of {found.message.trust_domain!r}; expected {domain!r}")
    return f"{len(found.message.anchors)} anchors, revision {found.revision}"


async def _same_trust(context: Context) -> str:
    found = await (await context.bus()).get(subjects.trust())
    published = load_certificates("".join(found.message.anchors).encode()) if found else []
    own = {key_id(anchor) for anchor in context.mesh.anchors()}
    if unknown := [key for key in map(key_id, published) if key not in own]:
        raise Doubtful(f"the mesh also trusts {', '.join(key[:16] for key in unknown)}")
    return ""


BUS = Group(
    "bus",
    (
        Check(
            "NATS lets us in",
            _reachable,
            "is nats-server running where bus.json says, with the configuration of this directory?",
            vital=True,
        ),
        Check(
            "whom to trust is published",
            _trust_published,
            "identity publishes it; is it running, and what does it log?",
        ),
        Check(
            "this directory knows every anchor that the mesh trusts",
            _same_trust,
            "copy trust/anchor.pem from where identity has its directory",
        ),
    ),
)
