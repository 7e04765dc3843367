"""The configuration of nats-server, the same for every deployment.

TLS from the mesh's own anchor; an account for each set of rights; static nkey users for the control plane,
which need nobody to come in; everybody else is asked for at the callout, in a box that only identity can
open. One node, or several that know each other.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from services.identity import accounts, nkey
from services.identity.accounts import Passing
from services.identity.callout import MOST_PAYLOAD, MOST_SUBSCRIPTIONS
from services.identity.permissions import Permissions, Role
from services.identity.roots import NODE

# A thousand clients may come back at the same moment: handshakes and callouts then take their time.
_ADMISSION_SECONDS = 30
ALONE = "tulle"
"""What a server is called that is not one of several."""
_MARK = "configuration"
_MARKED = re.compile(r'^server_tags: \["([^"]*)"\]$', re.MULTILINE)
NOBODY = nkey.spell_public(nkey.USER, hashlib.sha256(b"nobody has this key").digest())
"""NATS demands a user who is not asked for at the callout. This one has no key, and might do nothing."""
_NOBODY = f"""\
      {{ nkey: {NOBODY}
        permissions: {{ publish: {{ deny: ">" }}, subscribe: {{ deny: ">" }} }}
      }}"""
# A proof with its chain and long names does not fit into the usual 4 kB of a CONNECT.
_LONGEST_LINE = "32KB"

_TEMPLATE = """\
# Made by `python -m services.identity.bootstrap`, again by it, and whenever keys are replaced: edits are lost.
# For nats-server 2.12 or later.

server_name: {server_name}
# Which configuration this is, so that a server can be asked what it has read.
server_tags: [""]
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
    # Of whoever is not in these, the keys above decide. NATS can replace nothing of all this while it runs.
    allowed_accounts: [{admitted}]
    auth_users: [{nobody}]
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

# A workload's leaf comes from the same anchor as a node's certificate: only the name in it tells them apart.
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
    verify_and_map: true
    min_version: "1.3"
    timeout: {seconds}
  }}
  authorization {{ user: {user}, timeout: {seconds} }}
  routes: {routes}
}}
"""


@dataclass(frozen=True)
class Node:
    """One nats-server of several: what it is called, and where clients and the other nodes reach it."""

    name: str
    host: str
    port: int
    route_port: int


@dataclass(frozen=True)
class Cluster:
    """All nodes, and below what they show each other certificates."""

    nodes: tuple[Node, ...]
    anchors: Path


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
    users: Mapping[Role, tuple[Sequence[str], Permissions]]
    """The static ones: the public nkeys, and what whoever has one may do."""
    system: tuple[Sequence[str], Permissions]
    """Who may use the system account: the public nkeys, and what whoever has one may do."""


def render(server: Server, *, port: int, name: str = ALONE, cluster: Cluster | None = None) -> str:
    """The text of nats.conf for the server `name`; with `cluster`, which has a node of that name."""
    text = _text(server, port, name, cluster)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return marked(text, f"{_MARK}:{digest[:16]}")


def marked(text: str, mark: str) -> str:
    """The same configuration with another mark."""
    return _MARKED.sub(f'server_tags: ["{mark}"]', text, count=1)


def mark_of(text: str) -> str:
    """What the server tells among its tags that has read that configuration; empty if there is none."""
    found = _MARKED.search(text)
    return found[1] if found else ""


def _text(server: Server, port: int, name: str, cluster: Cluster | None) -> str:
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
        system=_users("identity", *server.system),
        accounts=_accounts(server),
        account=accounts.MESH,
        admitted=accounts.WORKLOADS,
        issuer=server.issuer,
        xkey=server.xkey,
        nobody=NOBODY,
    )


def _cluster(server: Server, name: str, cluster: Cluster) -> str:
    own = next(node for node in cluster.nodes if node.name == name)
    routes = [f"tls://{bracketed(node.host)}:{node.route_port}" for node in cluster.nodes]
    return _CLUSTER.format(
        port=own.route_port,
        advertise=_quoted(f"{bracketed(own.host)}:{own.route_port}"),
        cert=_quoted(server.cert),
        key=_quoted(server.key),
        anchors=_quoted(cluster.anchors),
        seconds=_ADMISSION_SECONDS,
        user=_quoted(NODE),
        routes=_list(routes),
    )


def bracketed(host: str) -> str:
    """A host as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def _users(name: str, keys: Sequence[str], permissions: Permissions) -> str:
    return "\n".join(_user(name, key, permissions) for key in keys)


def _accounts(server: Server) -> str:
    """Each account: who is in it by a key of its own, and what passes between it and the others."""
    between = accounts.passing()
    return "".join(
        _ACCOUNT.format(
            account=account,
            jetstream=_JETSTREAM if account == accounts.MESH else "",
            users=_residents(server, account),
            mappings=_mappings(account),
            exports=_exports(one for one in between if one.owner == account),
            imports="".join(_import(one) for one in between if one.guest == account),
        )
        for account in accounts.residents()
    )


def _residents(server: Server, account: str) -> str:
    if account == accounts.WORKLOADS:
        return _NOBODY
    return "\n".join(
        _users(role, *user) for role, user in server.users.items() if accounts.of(role) == account
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
