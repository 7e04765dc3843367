"""What of the mesh directory is NATS's: its keys, its certificate, and a configuration for each node."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from common.errors import InvalidName, InvalidSettings
from common.names import check_label
from services.identity import nats_config, nkey, server_certificate, xkey
from services.identity.directory import MeshDirectory, write
from services.identity.nats_config import Cluster, Node, Server
from services.identity.permissions import ROLES, of_role, of_system

ROUTE_PORT = 6222
_NODE = re.compile(r"([^=]+)=(\[[^\]]+\]|[^:\[\]]+)(?::(\d{1,5}))?(?::(\d{1,5}))?")


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
    mesh: MeshDirectory, *, port: int, store: Path, nodes: Sequence[Node] = ()
) -> None:
    """Write the configuration, or each node's, and remove any other. Raises OSError, InvalidSettings."""
    wanted: dict[Path, str] = {}
    if not nodes:
        wanted[mesh.nats_config_file] = nats_config.render(_server(mesh, store), port=port)
    else:
        cluster = Cluster(tuple(nodes), mesh.anchors_file)
        for node in nodes:
            # On one machine, too, each has its own.
            server = _server(mesh, store / node.name)
            text = nats_config.render(server, port=node.port, name=node.name, cluster=cluster)
            wanted[mesh.node_config_file(node.name)] = text
    for path, text in wanted.items():
        write(path, text.encode())
    for old in set(mesh.nats_config_file.parent.glob("*.conf")) - set(wanted):
        old.unlink()


def _server(mesh: MeshDirectory, store: Path) -> Server:
    return Server(
        cert=mesh.server_file,
        key=mesh.server_key_file,
        store=store.resolve(),
        issuer=mesh.account().public,
        xkey=mesh.callout().public,
        users={role: (mesh.user(role).public, of_role(role)) for role in ROLES},
        system=(mesh.user("system").public, of_system()),
    )


def _once(path: Path, make: Callable[[], str]) -> None:
    if not path.exists():
        write(path, make().encode())
