"""The configuration of nats-server, the same for every deployment.

TLS from the mesh's own anchor; an account for the mesh and one for the system; static nkey users for the
control plane, which need nobody to come in; everybody else is asked for at the callout.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from services.identity.callout import ACCOUNT
from services.identity.permissions import Permissions

# A thousand clients may come back at the same moment: handshakes and callouts then take their time.
_ADMISSION_SECONDS = 30
# A proof with its chain and long names does not fit into the usual 4 kB of a CONNECT.
_LONGEST_LINE = "32KB"

_TEMPLATE = """\
# Made by `python -m services.identity.bootstrap`, and made again by it: edits are lost.

server_name: {server_name}
port: {port}

max_control_line: {longest_line}
max_payload: 1MB
max_pending: 16MB
max_subscriptions: 20000
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

system_account: SYS
accounts {{
  SYS {{}}
  {account} {{
    jetstream: enabled
    users: [
{users}
    ]
  }}
}}

authorization {{
  timeout: {seconds}
  auth_callout {{
    issuer: {issuer}
    account: {account}
    auth_users: {auth_users}
  }}
}}
"""


def render(
    *,
    cert: Path,
    key: Path,
    store: Path,
    port: int,
    issuer: str,
    users: Mapping[str, tuple[str, Permissions]],
    server_name: str = "tulle",
) -> str:
    """The text of nats.conf.

    `issuer` is the public nkey of the account, `users` are the static ones: a name for people, the
    public nkey and what it may do.
    """
    return _TEMPLATE.format(
        server_name=_quoted(server_name),
        port=port,
        longest_line=_LONGEST_LINE,
        seconds=_ADMISSION_SECONDS,
        cert=_quoted(cert),
        key=_quoted(key),
        store=_quoted(store),
        account=ACCOUNT,
        users="\n".join(_user(name, *user) for name, user in users.items()),
        issuer=issuer,
        auth_users=_list([public for public, _ in users.values()]),
    )


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
