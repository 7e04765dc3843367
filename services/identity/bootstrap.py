"""Makes a mesh directory: `python -m services.identity.bootstrap DIR`.

What is there is kept: a second run changes no key, renews the certificate of NATS if it is old or its
names have changed, and writes `nats.conf` afresh. A directory that holds something else, or was left half
made, is not touched.
"""

import argparse
import sys
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

import msgspec

from common.clock import Clock, SystemClock
from common.errors import InvalidName, InvalidSettings
from common.files import private_folder
from common.names import DEFAULT_TRUST_DOMAIN, check_subdomain
from common.x509 import generate_key, key_pem, public_pem
from services.identity import nats_files, nkey
from services.identity.directory import PUBLIC, BusSettings, MeshDirectory, write, write_pair
from services.identity.nats_config import Node, bracketed
from services.identity.roots import make_anchor, make_issuer

DEFAULT_HOSTS = ("127.0.0.1", "localhost")


def bootstrap(
    directory: Path,
    *,
    trust_domain: str = DEFAULT_TRUST_DOMAIN,
    nats_hosts: Sequence[str] = DEFAULT_HOSTS,
    nats_port: int = 4222,
    nodes: Sequence[Node] = (),
    store_dir: Path | None = None,
    mounted_at: Path | None = None,
    clock: Clock | None = None,
) -> MeshDirectory:
    """Make the mesh directory, or see to it that it is complete and current.

    `nats_hosts` are the names and addresses under which NATS is reached, the one to be used first. With
    `nodes`, three or five, they form a cluster and have a configuration each, and `nats_hosts` are further
    names. JetStream's files go to `store_dir`, by default `nats/store`. Where NATS finds the directory
    elsewhere, that is `mounted_at`. Raises InvalidSettings.
    """
    now = (clock or SystemClock()).now()
    hosts = tuple(dict.fromkeys((*(node.host for node in nodes), *nats_hosts)))
    _check(trust_domain, hosts, nats_port)
    nats_files.check(nodes)
    # NATS reads its files from wherever it was started.
    mesh = MeshDirectory(directory.resolve())
    try:
        if not mesh.bus_file.exists():
            _make_keys(mesh, trust_domain, now)
        elif mesh.bus().trust_domain != trust_domain:
            raise InvalidSettings(
                f"{mesh.root}: made for trust domain {mesh.bus().trust_domain!r}, not {trust_domain!r}"
            )
        nats_files.make_keys(mesh)
        nats_files.make_certificate(mesh, hosts, now, routes=bool(nodes))
        store = store_dir or mesh.root / "nats" / "store"
        nats_files.write_configs(
            mesh, port=nats_port, store=store, nodes=nodes, mounted_at=mounted_at
        )
        places = [(node.host, node.port) for node in nodes] or [(nats_hosts[0], nats_port)]
        servers = tuple(f"tls://{bracketed(host)}:{port}" for host, port in places)
        bus = BusSettings(servers=servers, trust_domain=trust_domain)
        write(mesh.bus_file, msgspec.json.encode(bus) + b"\n", PUBLIC)
    except OSError as error:
        raise InvalidSettings(f"{error.filename or mesh.root}: {error.strerror}") from None
    return mesh


def _check(trust_domain: str, hosts: Sequence[str], port: int) -> None:
    try:
        check_subdomain(trust_domain, "trust domain")
        for host in hosts:
            if not _is_address(host):
                check_subdomain(host, "NATS host")
    except InvalidName as error:
        raise InvalidSettings(str(error)) from None
    if not hosts:
        raise InvalidSettings("NATS hosts: none given; expected at least one name or address")
    if not 0 < port < 65_536:
        raise InvalidSettings(f"NATS port {port}: expected 1 to 65535")


def _make_keys(mesh: MeshDirectory, trust_domain: str, now: float) -> None:
    root = mesh.root
    if root.exists() and any(root.iterdir()):
        raise InvalidSettings(
            f"{root}: holds something, but no bus.json: not a mesh directory, or left half made;"
            " give an empty one, or remove it"
        )
    private_folder(root)
    for name in ("trust", "issuer", "tokens", "nats", "keys"):
        private_folder(root / name)
    anchor = make_anchor(trust_domain, now)
    write_pair(anchor, mesh.anchors_file, mesh.anchor_key_file)
    write_pair(make_issuer(anchor, trust_domain, now), mesh.issuer_file, mesh.issuer_key_file)
    tokens = generate_key()
    write(mesh.tokens_key_file, key_pem(tokens))
    write(mesh.tokens_file, public_pem(tokens.public_key()), PUBLIC)
    write(mesh.account_file, nkey.generate(nkey.ACCOUNT).seed.encode())


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, make the directory; 0, or 2 with the mistake on standard error."""
    parser = argparse.ArgumentParser(
        prog="python -m services.identity.bootstrap",
        description="Make a mesh directory: trust anchor, issuer, keys and the configuration of NATS.",
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--trust-domain", default=DEFAULT_TRUST_DOMAIN)
    parser.add_argument(
        "--nats-host",
        action="append",
        metavar="NAME_OR_IP",
        help="where NATS is reached, several times if at several; the first is written to bus.json"
        f" (default: {' '.join(DEFAULT_HOSTS)})",
    )
    parser.add_argument("--nats-port", type=int, default=4222)
    parser.add_argument(
        "--node",
        action="append",
        default=[],
        metavar="NAME=HOST[:PORT[:ROUTE_PORT]]",
        help="a node of a NATS cluster; three or five of them (default ports: 4222 and 6222)",
    )
    parser.add_argument(
        "--store-dir", type=Path, help="JetStream's files (default: DIR/nats/store)"
    )
    given = parser.parse_args(arguments)
    try:
        mesh = bootstrap(
            given.directory,
            trust_domain=given.trust_domain,
            nats_hosts=given.nats_host or DEFAULT_HOSTS,
            nats_port=given.nats_port,
            nodes=[nats_files.parse_node(node) for node in given.node],
            store_dir=given.store_dir,
        )
    except InvalidSettings as error:
        sys.stderr.write(f"{error}\n")
        return 2
    names = [node.partition("=")[0] for node in given.node]
    configs = [mesh.node_config_file(name) for name in names] or [mesh.nats_config_file]
    where = "start NATS, 2.12 or later, with:" if not names else "start each node of NATS with:"
    sys.stdout.write(f"{mesh.root}: ready; {where}\n")
    sys.stdout.write("".join(f"nats-server -c {config}\n" for config in configs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
