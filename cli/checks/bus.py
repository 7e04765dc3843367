"""NATS: it lets us in, shows a certificate of the mesh, and retains what it must."""

import msgspec

from cli import running
from cli.checks import certificate
from cli.checks.context import Context
from cli.checks.frame import Check, Doubtful, Group, Wrong, count, named
from common.contract import subjects
from common.x509 import key_id, load_certificates


class _Replica(msgspec.Struct, frozen=True):
    name: str = ""
    current: bool = False
    offline: bool = False


class _Cluster(msgspec.Struct, frozen=True):
    leader: str = ""
    replicas: tuple[_Replica, ...] | None = None


class _Error(msgspec.Struct, frozen=True):
    description: str = ""


class _Stream(msgspec.Struct, frozen=True):
    """What NATS tells of a stream."""

    error: _Error | None = None
    cluster: _Cluster | None = None


async def _reachable(context: Context) -> str:
    """A connection to NATS with your key: the operator's of a mesh directory or cluster, or one of your own."""
    await context.bus()
    return (await context.entry()).where


async def _streams(context: Context) -> str:
    """The streams that retain state, events and leases, and whether each NATS node has all of them."""
    bus = await context.bus()
    missing, behind = [], []
    for name in running.STREAMS:
        answer = await bus.ask(f"$JS.API.STREAM.INFO.{name}", b"")
        found = msgspec.json.decode(answer, type=_Stream)
        if found.error:
            missing.append(f"{name}: {found.error.description}")
        elif found.cluster:
            late = [
                one.name for one in found.cluster.replicas or () if one.offline or not one.current
            ]
            behind += [f"{name} on {one}" for one in late]
    if missing:
        raise Wrong(named(missing))
    if behind:
        raise Doubtful(f"not up to date: {named(behind)}")
    return f"{len(running.STREAMS)} streams"


async def _trust_published(context: Context) -> str:
    """`tulle.v1.mesh.trust`: the trust bundle, of this trust domain."""
    found = await (await context.bus()).get(subjects.trust())
    if found is None:
        raise Wrong("no trust bundle was ever published")
    domain = (await context.entry()).trust_domain
    if domain and found.message.trust_domain != domain:
        raise Wrong(f"it is of {found.message.trust_domain!r}; expected {domain!r}")
    return f"{count(found.message.anchors, 'anchor')}, revision {found.revision}"


async def _same_trust(context: Context) -> str:
    """The anchors of the bundle, and those that we come in with: trust/anchor.pem, or ConfigMap tulle-trust."""
    found = await (await context.bus()).get(subjects.trust())
    published = load_certificates("".join(found.message.anchors).encode()) if found else []
    own = load_certificates((await context.entry()).anchors().encode())
    known = set(map(key_id, own))
    if unknown := [key for key in map(key_id, published) if key not in known]:
        raise Doubtful(f"the mesh also trusts {', '.join(key[:16] for key in unknown)}")
    return ""


BUS = Group(
    "bus",
    (
        Check(
            "NATS lets us in",
            _reachable,
            "is NATS running, and is this the mesh that you mean? Its log says why it refuses somebody",
            "bus-reachable",
            vital=True,
        ),
        Check(
            "it shows a certificate of the mesh, renewed in time",
            certificate.look,
            "identity renews it and has NATS read it again: look at identity's log",
            "bus-certificate",
        ),
        Check(
            "its streams are there",
            _streams,
            "identity makes them: is it running, and what does it log?",
            "streams",
        ),
        Check(
            "whom to trust is published",
            _trust_published,
            "identity publishes it; is it running, and what does it log?",
            "trust-published",
        ),
        Check(
            "we know every anchor that the mesh trusts",
            _same_trust,
            "of a mesh directory: copy trust/anchor.pem from where identity has it; in a cluster identity keeps"
            " ConfigMap tulle-trust: look at its log",
            "anchors-known",
        ),
    ),
)
