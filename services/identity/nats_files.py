"""What of the mesh directory is NATS's: its keys, its certificate, and a configuration for each node."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from common.errors import InvalidName, InvalidSettings
from common.names import check_label
from services.identity import key_progress, nats_config, nkey, server_certificate, xkey
from services.identity.directory import PUBLIC, MeshDirectory, beside, write
from services.identity.key_progress import KeyProgress
from services.identity.nats_config import Cluster, Node, Server
from services.identity.permissions import ROLES, Role, of_role, of_system

ROUTE_PORT = 6222
_NODE = re.compile(r"([^=]+)=(\[[^\]]+\]|[^:\[\]]+)(?::(\d{1,5}))?(?::(\d{1,5}))?")


class Servers(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in `nats/servers.json`."""

    root: str
    """The mesh directory, as the servers find it."""
    anchors: str
    """The anchors of the mesh, as the nodes of a cluster find them."""
    port: int
    store: str
    nodes: tuple[Node, ...] = ()


def parse_node(text: str) -> Node:
    """A node as `NAME=HOST[:PORT[:ROUTE_PORT]]`; raises InvalidSettings."""
    match = _NODE.fullmatch(text)
    if match is None:
        raise InvalidSettings(f"node {text!r}: expected NAME=HOST[:PORT[:ROUTE_PORT]]")
    name, host, port, route_port = match.groups()
    return Node(name, host.strip("[]"), int(port or 4222), int(route_port or ROUTE_PORT))


def check(nodes: Sequence[Node]) -> None:
    """Raise InvalidSettings unless these can be a cluster, or are none."""
    if not nodes:
        return
    if len(nodes) not in (3, 5):
        raise InvalidSettings(
            f"{len(nodes)} nodes: expected three or five, so that a majority decides"
        )
    for node in nodes:
        try:
            check_label(node.name, "node")
        except InvalidName as error:
            raise InvalidSettings(str(error)) from None
        for port in (node.port, node.route_port):
            if not 0 < port < 65_536:
                raise InvalidSettings(f"node {node.name}: port {port}: expected 1 to 65535")
    for what in ("name", "route"):
        seen = [node.name if what == "name" else (node.host, node.route_port) for node in nodes]
        if len(set(seen)) < len(seen):
            raise InvalidSettings(f"nodes: expected a different {what} for each")


def make_keys(mesh: MeshDirectory) -> None:
    """Make what is not there yet; what is there is kept. Raises OSError."""
    for path in (*map(mesh.seed_file, ROLES), mesh.seed_file("system")):
        _once(path, lambda: nkey.generate(nkey.USER).seed)
    _once(mesh.callout_file, lambda: xkey.generate().seed)


def make_certificate(
    mesh: MeshDirectory, hosts: Sequence[str], now: float, *, routes: bool
) -> None:
    """Make NATS's certificate, unless there is one that will do. Raises OSError, InvalidSettings."""
    server_certificate.renew(mesh, now, hosts, routes=routes)


def write_configs(
    mesh: MeshDirectory,
    *,
    port: int,
    store: Path,
    nodes: Sequence[Node] = (),
    mounted_at: Path | None = None,
) -> None:
    """Write the configuration, or each node's, and remove any other.

    Where the servers find their files elsewhere, that is below `mounted_at`, all of them in `nats/`.
    Raises OSError, InvalidSettings.
    """
    told = Servers(
        root=str(mounted_at or mesh.root),
        anchors=str(mounted_at / "nats" / "anchor.pem" if mounted_at else mesh.anchors_file),
        port=port,
        store=str(store.resolve()),
        nodes=tuple(nodes),
    )
    write(mesh.servers_file, msgspec.json.encode(told) + b"\n", PUBLIC)
    write_configs_again(mesh)


def write_configs_again(mesh: MeshDirectory) -> None:
    """Write them with the keys that there are now. Raises OSError, InvalidSettings."""
    told = _told(mesh)
    wanted: dict[Path, str] = {}
    if not told.nodes:
        server = _server(mesh, told, Path(told.store))
        wanted[mesh.nats_config_file] = nats_config.render(server, port=told.port)
    else:
        cluster = Cluster(told.nodes, Path(told.anchors))
        for node in told.nodes:
            # On one machine, too, each has its own.
            server = _server(mesh, told, Path(told.store) / node.name)
            text = nats_config.render(server, port=node.port, name=node.name, cluster=cluster)
            wanted[mesh.node_config_file(node.name)] = text
    for path, text in wanted.items():
        write(path, text.encode())
    for old in set(mesh.nats_config_file.parent.glob("*.conf")) - set(wanted):
        old.unlink()


def marks(mesh: MeshDirectory) -> dict[str, str]:
    """By its name, what each server tells that has read its configuration; raises InvalidSettings."""
    if not mesh.servers_file.exists():
        return {}
    names = [node.name for node in _told(mesh).nodes]
    files = {name: mesh.node_config_file(name) for name in names}
    files = files or {nats_config.ALONE: mesh.nats_config_file}
    return {name: nats_config.mark_of(mesh.read(path).decode()) for name, path in files.items()}


def publics(
    mesh: MeshDirectory, role: Role | Literal["system"], progress: KeyProgress
) -> list[str]:
    """The public nkeys of a service: what comes and what goes, as long as NATS is to know both."""
    path = mesh.seed_file(role)
    if not progress.has("services", "added", "switched"):
        return [mesh.seed(path, nkey.USER).public]
    sides = (progress.coming, progress.going)
    return [mesh.seed(beside(path, side), nkey.USER).public for side in sides]


def _told(mesh: MeshDirectory) -> Servers:
    path = mesh.servers_file
    try:
        return msgspec.json.decode(mesh.read(path), type=Servers)
    except msgspec.DecodeError as error:
        raise InvalidSettings(f"{path}: {error}; bootstrap writes it anew") from None


def _server(mesh: MeshDirectory, told: Servers, store: Path) -> Server:
    progress = key_progress.load(mesh)
    seen = MeshDirectory(Path(told.root))
    account, callout = mesh.account_file, mesh.callout_file
    # One of each is all that NATS can be told; identity knows both.
    if progress.has("account", "added"):
        account = beside(account, progress.coming)
    if progress.has("callout", "added"):
        callout = beside(callout, progress.coming)
    return Server(
        cert=seen.server_file,
        key=seen.server_key_file,
        store=store,
        issuer=mesh.seed(account, nkey.ACCOUNT).public,
        xkey=mesh.box(callout).public,
        users={role: (publics(mesh, role, progress), of_role(role)) for role in ROLES},
        system=(publics(mesh, "system", progress), of_system()),
    )


def _once(path: Path, make: Callable[[], str]) -> None:
    if not path.exists():
        write(path, make().encode())
