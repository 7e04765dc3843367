"""How a mesh is reached: by a directory or a person's folder, in a cluster, or at an address that was told."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from cli.cluster import NATS, NATS_PORT, Cluster, anchors, operator_seed
from cli.forward import forwarded
from common.contract import subjects
from services.identity import nkey
from services.identity.directory import MeshDirectory


@dataclass(frozen=True)
class Way:
    """What the command line said: a directory, a cluster, or both: a folder's key, and the cluster's NATS."""

    directory: MeshDirectory | None = None
    cluster: Cluster | None = None
    servers: tuple[str, ...] = ()
    """Where NATS is, if that was told."""


@dataclass(frozen=True)
class Entry:
    """What it takes to come in."""

    servers: tuple[str, ...]
    where: str
    """The same for people."""
    anchors: Callable[[], str]
    """Whom NATS is believed by, PEM, read afresh."""
    anchors_from: str
    seed: Callable[[], str]
    inbox: str
    trust_domain: str
    """Empty if that is not known."""


@asynccontextmanager
async def entry(way: Way) -> AsyncIterator[Entry]:
    """The way in, for as long as the context lasts.

    Raises InvalidSettings, KubernetesUnavailable, KubernetesRefused.
    """
    if way.directory is None and way.cluster is None:
        raise ValueError("a way without a mesh")
    found = _of_directory(way.directory) if way.directory else await _of_cluster(way)
    if way.servers:
        yield replace(found, servers=way.servers, where=", ".join(way.servers))
    elif way.cluster is None or way.cluster.kubeconfig is None:
        yield found
    else:
        async with forwarded(way.cluster, f"service/{NATS}", NATS_PORT) as port:
            where = f"service {NATS} of {way.cluster}, through 127.0.0.1:{port}"
            yield replace(found, servers=(f"tls://127.0.0.1:{port}",), where=where)


def _of_directory(mesh: MeshDirectory) -> Entry:
    where = mesh.bus()
    person = where.person
    own = mesh.seed_file("person" if person else "operator")
    mesh.seed(own, nkey.USER)
    return Entry(
        servers=where.servers,
        where=", ".join(where.servers),
        anchors=mesh.anchors_pem,
        anchors_from=str(mesh.anchors_file),
        seed=lambda: mesh.seed(own, nkey.USER).seed,
        inbox=subjects.person_inbox(person) if person else subjects.role_inbox("operator"),
        trust_domain=where.trust_domain,
    )


async def _of_cluster(way: Way) -> Entry:
    cluster = way.cluster
    assert cluster is not None
    async with cluster.client() as client:
        pem, seed = await anchors(cluster, client), await operator_seed(cluster, client)
    server = f"tls://{NATS}.{cluster.namespace}.svc:{NATS_PORT}"
    return Entry(
        servers=(server,),
        where=server,
        anchors=lambda: pem,
        anchors_from=f"{cluster}: ConfigMap tulle-trust",
        seed=lambda: seed,
        inbox=subjects.role_inbox("operator"),
        trust_domain="",
    )
