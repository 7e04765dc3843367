"""The configuration of nats-server, the same for every deployment.

TLS from the mesh's own anchor; an account for each set of rights; static nkey users for the control plane,
which need nobody to come in; everybody else is asked for at the callout, in a box that only identity can
open. One node, or several that know each other.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import msgspec

from services.identity import accounts
from services.identity.accounts import Passing
from services.identity.callout import MOST_PAYLOAD, MOST_SUBSCRIPTIONS
from services.identity.permissions import Permissions, PersonRole, Role

# A thousand clients may come back at the same moment: handshakes and callouts then take their time.
_ADMISSION_SECONDS = 30
# A proof with its chain and long names does not fit into the usual 4 kB of a CONNECT.
_LONGEST_LINE = "32KB"

_TEMPLATE = """\
# Made by `python -m services.identity.bootstrap`, and made again by it: edits are lost.
# For nats-server 2.12 or later.

server_name: {server_name}
port: {port}

max_control_line: {longest_line}
max_payload: {most_payload}
max_pending: 16MB
max_subscriptions: {most_subscriptions}
ping_interval: "20s"
ping_max: 3
write_deadline: "10s"

tls {{
  cert_file: {cert}
  key_file: {key}
  min_version: "1.3"
  timeout: {seconds}
}}

jetstream {{
  store_dir: {store}
  max_memory_store: 256MB
  max_file_store: 4GB
}}
{cluster}
system_account: {system_account}
accounts {{
  {system_account} {{
    users: [
{system}
    ]
  }}
{accounts}}}

authorization {{
  timeout: {seconds}
  auth_callout {{
    issuer: {issuer}
    xkey: {xkey}
    account: {account}
    allowed_accounts: {admitted}
    auth_users: {auth_users}
  }}
}}
"""

_ACCOUNT = """\
  {account} {{
{jetstream}    users: [
{users}
    ]
    mappings: {{
{mappings}    }}
    exports: [
{exports}    ]
    imports: [
{imports}    ]
  }}
"""
_JETSTREAM = """\
    jetstream { max_memory: 64MB, max_file: 4GB, max_streams: 16, max_consumers: 64 }
"""

# A workload's leaf comes from the same anchor as a node's certificate: only the password tells them apart.
_CLUSTER = """
cluster {{
  name: tulle
  port: {port}
  # Others who hear of this node from a third one reach it by the name in its certificate.
  advertise: {advertise}
  no_advertise: true
  tls {{
    cert_file: {cert}
    key_file: {key}
    ca_file: {anchors}
    min_version: "1.3"
    timeout: {seconds}
  }}
  authorization {{ user: {user}, password: {password}, timeout: {seconds} }}
  routes: {routes}
}}
"""
_ROUTE_USER = "route"


@dataclass(frozen=True)
class Node:
    """One nats-server of several: what it is called, and where clients and the other nodes reach it."""

    name: str
    host: str
    port: int
    route_port: int


@dataclass(frozen=True)
class Cluster:
    """All nodes, and what they show each other."""

    nodes: tuple[Node, ...]
    anchors: Path
    password: str = field(repr=False)


@dataclass(frozen=True)
class Server:
    """What every node of a mesh is told alike."""

    cert: Path
    key: Path
    store: Path
    issuer: str
    """The public nkey of the account that answers the callout."""
    xkey: str
    """The public xkey for which questions are sealed."""
    users: Mapping[Role, tuple[str, Permissions]]
    """The static ones: the public nkey and what it may do."""
    system: tuple[str, Permissions]
    """Who may use the system account: a public nkey and what it may do."""


def render(
    server: Server, *, port: int, name: str = "tulle", cluster: Cluster | None = None
) -> str:
    """The text of nats.conf for the server `name`; with `cluster`, which has a node of that name."""
    return _TEMPLATE.format(
        server_name=_quoted(name),
        port=port,
        longest_line=_LONGEST_LINE,
        most_payload=MOST_PAYLOAD,
        most_subscriptions=MOST_SUBSCRIPTIONS,
        seconds=_ADMISSION_SECONDS,
        cert=_quoted(server.cert),
        key=_quoted(server.key),
        store=_quoted(server.store),
        cluster=_cluster(server, name, cluster) if cluster else "",
        system_account=accounts.SYSTEM,
        system=_user("identity", *server.system),
        accounts=_accounts(server),
        account=accounts.MESH,
        admitted=_list([accounts.WORKLOADS, *map(accounts.of, get_args(PersonRole))]),
        issuer=server.issuer,
        xkey=server.xkey,
        auth_users=_list([public for public, _ in server.users.values()]),
    )


def _cluster(server: Server, name: str, cluster: Cluster) -> str:
    own = next(node for node in cluster.nodes if node.name == name)
    routes = [
        f"tls://{_ROUTE_USER}:{cluster.password}@{bracketed(node.host)}:{node.route_port}"
        for node in cluster.nodes
    ]
    return _CLUSTER.format(
        port=own.route_port,
        advertise=_quoted(f"{bracketed(own.host)}:{own.route_port}"),
        cert=_quoted(server.cert),
        key=_quoted(server.key),
        anchors=_quoted(cluster.anchors),
        seconds=_ADMISSION_SECONDS,
        user=_quoted(_ROUTE_USER),
        password=_quoted(cluster.password),
        routes=_list(routes),
    )


def bracketed(host: str) -> str:
    """A host as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def _accounts(server: Server) -> str:
    """Each account: who is in it by a key of its own, and what passes between it and the others."""
    between = accounts.passing()
    return "".join(
        _ACCOUNT.format(
            account=account,
            jetstream=_JETSTREAM if account == accounts.MESH else "",
            users="\n".join(
                _user(role, *user)
                for role, user in server.users.items()
                if accounts.of(role) == account
            ),
            mappings=_mappings(account),
            exports=_exports(one for one in between if one.owner == account),
            imports="".join(_import(one) for one in between if one.guest == account),
        )
        for account in accounts.residents()
    )


def _mappings(account: str) -> str:
    pairs = accounts.mappings(account).items()
    return "".join(f"      {_quoted(one)}: {_quoted(other)}\n" for one, other in pairs)


def _exports(those: Iterable[Passing]) -> str:
    guests: dict[Passing, list[str]] = {}
    for one in those:
        to_anybody = msgspec.structs.replace(one, guest="", known_as="")
        guests.setdefault(to_anybody, []).append(one.guest)
    return "".join(
        f"      {{ {one.kind}: {_quoted(one.subject)}, accounts: {_list(to)}"
        f"{', response_type: stream' if one.answered_often else ''} }}\n"
        for one, to in guests.items()
    )


def _import(one: Passing) -> str:
    known_as = f", to: {_quoted(one.known_as)}" if one.known_as != one.subject else ""
    of = f"account: {one.owner}, subject: {_quoted(one.subject)}"
    return f"      {{ {one.kind}: {{ {of} }}{known_as} }}\n"


def _user(name: str, public: str, permissions: Permissions) -> str:
    subscribe = f"allow: {_list(permissions.subscribe)}"
    if permissions.not_subscribe:
        subscribe += f", deny: {_list(permissions.not_subscribe)}"
    return f"""\
      # {name}
      {{ nkey: {public}
        permissions: {{
          publish: {{ allow: {_list(permissions.publish)} }}
          subscribe: {{ {subscribe} }}
        }}
      }}"""


def _list(items: Sequence[str]) -> str:
    return "[" + ", ".join(_quoted(item) for item in items) + "]"


def _quoted(item: object) -> str:
    return msgspec.json.encode(str(item)).decode()
