"""Makes the mesh in a cluster: the Secrets and the ConfigMap of `layout`, those that are absent.

`tulle-mesh` is made first, in one piece: of several who do this at once one succeeds, and the others go on
with what it made. Everything else is derived from what `tulle-mesh` then holds. What is there is never
changed: what has become old is for identity to renew.

Rights, all in the namespace of the mesh:
    create  secrets, configmaps   RBAC cannot tell names apart when something is created
    get     secrets: tulle-mesh, tulle-issuer, tulle-nats, tulle-bus-*; configmaps: tulle-trust
"""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import anyio
import msgspec

from common.backoff import Backoff
from common.clock import Clock
from common.errors import InvalidSettings, KubernetesUnavailable
from common.kube.stored import Shelf, Stored
from common.names import DEFAULT_TRUST_DOMAIN
from services.identity import bootstrap as directory_of
from services.identity.cluster import layout
from services.identity.directory import MeshDirectory
from services.identity.nats_config import Node
from services.identity.nats_files import ROUTE_PORT

NATS_PORT = 4222
_STORE = Path("/var/lib/tulle")
_LOCAL = ("localhost", "127.0.0.1")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which mesh it is to be."""

    namespace: str = "tulle"
    trust_domain: str = DEFAULT_TRUST_DOMAIN
    cluster_domain: str = "cluster.local"
    """The suffix of the names of Services."""
    nodes: int = 1
    """Servers of NATS: one, or three that are a cluster."""
    join_tokens: bool = False
    """With a key that signs join tokens: for workloads that are no pods."""

    @property
    def servers(self) -> list[Node]:
        """The servers of a NATS cluster; none for a single one."""
        if self.nodes == 1:
            return []
        names = [f"{layout.NATS}-{number}" for number in range(self.nodes)]
        return [Node(name, self._host(name), NATS_PORT, ROUTE_PORT) for name in names]

    @property
    def hosts(self) -> list[str]:
        """What NATS is called, by whoever connects to any of its servers; the name to be used first."""
        service = f"{layout.NATS}.{self.namespace}.svc"
        each = [node.host for node in self.servers]
        full = [f"{host}.{self.cluster_domain}" for host in (service, *each)]
        return [service, *each, *full, *_LOCAL]

    def _host(self, name: str) -> str:
        return f"{name}.{layout.NATS}.{self.namespace}.svc"


async def bootstrap(
    shelf: Shelf, wanted: Wanted, tell: Callable[[str], None], clock: Clock
) -> None:
    """Make what is absent, and say of everything what was done; waits for an API that is away.

    Raises KubernetesRefused, and InvalidSettings if what is there is not what is wanted, or is only a part.
    """
    backoff = Backoff(clock, first=0.5, most=10.0)
    while True:
        try:
            with tempfile.TemporaryDirectory(prefix="tulle-mesh-") as folder:
                await _attempt(shelf, wanted, Path(folder), tell, clock)
            return
        except KubernetesUnavailable as error:
            wait = max(backoff.next(), error.retry_after)
            tell(f"Kubernetes does not answer; trying again in {wait:.1f} s: {error}")
            await anyio.sleep(wait)


async def _attempt(
    shelf: Shelf, wanted: Wanted, folder: Path, tell: Callable[[str], None], clock: Clock
) -> None:
    issuer = await shelf.read("Secret", layout.ISSUER)
    held = await shelf.read("Secret", layout.MESH)
    if held is None:
        held = await _begin(shelf, wanted, issuer, folder / "made", tell, clock)
    else:
        tell(f"{held}: is there")
    mesh = _read(held, folder / "mesh", shelf.namespace)
    _check(mesh, wanted, shelf.namespace)
    layout.place_issuer(issuer.data if issuer else None, mesh.root)
    for thing in layout.derived(mesh):
        await _complete(shelf, thing, tell)


async def _begin(
    shelf: Shelf,
    wanted: Wanted,
    issuer: Stored | None,
    folder: Path,
    tell: Callable[[str], None],
    clock: Clock,
) -> Stored:
    """Make `tulle-mesh`, unless somebody else has; returns what there is then."""
    found = [thing for thing in layout.names() if await shelf.read(*thing) is not None]
    # Whoever is making the mesh at this moment makes these after tulle-mesh: so it is looked for again.
    if not found:
        await _create(shelf, make(folder, wanted, issuer, clock), tell)
    held = await shelf.read("Secret", layout.MESH)
    if held is None and found:
        raise InvalidSettings(_without_mesh(shelf.namespace, found))
    if held is None:
        raise KubernetesUnavailable(f"Secret {layout.MESH}: made, and gone again")
    return held


async def _create(shelf: Shelf, thing: Stored, tell: Callable[[str], None]) -> None:
    fresh = await shelf.create(thing)
    tell(f"{thing}: {'made' if fresh else 'was made by somebody else meanwhile'}")


async def _complete(shelf: Shelf, thing: Stored, tell: Callable[[str], None]) -> None:
    found = await shelf.read(thing.kind, thing.name)
    if found is None:
        await _create(shelf, thing, tell)
    elif dict(found.data) != dict(thing.data):
        tell(
            f"{thing}: is there, and is not as {layout.MESH} has it: identity brings it up to date"
        )
    else:
        tell(f"{thing}: is there")


def make(folder: Path, wanted: Wanted, issuer: Stored | None, clock: Clock) -> Stored:
    """`tulle-mesh` for a new mesh, made in `folder`; raises InvalidSettings."""
    # Once for keys of its own; an issuer from elsewhere then signs the certificate of NATS.
    for _again in range(2 if issuer else 1):
        mesh = directory_of.bootstrap(
            folder,
            trust_domain=wanted.trust_domain,
            nats_hosts=wanted.hosts,
            nats_port=NATS_PORT,
            nodes=wanted.servers,
            store_dir=_STORE,
            mounted_at=layout.MOUNTED_AT,
            clock=clock,
        )
        layout.place_issuer(issuer.data if issuer else None, mesh.root)
    if not wanted.join_tokens:
        shutil.rmtree(mesh.tokens_file.parent)
    return layout.whole(mesh.root)


def _without_mesh(namespace: str, found: Sequence[tuple[str, str]]) -> str:
    words = ", ".join(f"{kind} {name}" for kind, name in found)
    arguments = " ".join(f"{kind.lower()}/{name}" for kind, name in found)
    return (
        f"namespace {namespace}: {words}: there, but Secret {layout.MESH}, which they come from, is not;"
        f" expected both or neither. Restore {layout.MESH} from your backup; or, for a new mesh with"
        f" new keys: kubectl delete -n {namespace} {arguments}"
    )


def _read(held: Stored, folder: Path, namespace: str) -> MeshDirectory:
    if not held.data.get("bus.json"):
        raise InvalidSettings(
            f"namespace {namespace}: {held}: has no key bus.json; expected a whole mesh directory."
            " Restore it from your backup, or delete it if it was made by mistake"
        )
    layout.unpack(held.data, folder)
    return MeshDirectory(folder)


def _check(mesh: MeshDirectory, wanted: Wanted, namespace: str) -> None:
    """Raise InvalidSettings if the mesh that is there is another one."""
    where = f"namespace {namespace}: Secret {layout.MESH}"
    domain = mesh.bus().trust_domain
    if domain != wanted.trust_domain:
        raise InvalidSettings(
            f"{where}: made for trust domain {domain!r}, not {wanted.trust_domain!r}"
        )
    if wanted.join_tokens and not mesh.tokens_key_file.exists():
        raise InvalidSettings(f"{where}: made without join tokens, not with them")
    names = {path.stem for path in mesh.nats_config_file.parent.glob("*.conf")}
    expected = {node.name for node in wanted.servers} or {"nats"}
    if names != expected:
        raise InvalidSettings(
            f"{where}: made for {len(names)} server(s) of NATS ({', '.join(sorted(names))}),"
            f" not {wanted.nodes} ({', '.join(sorted(expected))})"
        )
