"""A pair of HAProxys with one thread each: a frontend per row of the table, no log."""

from pathlib import Path

from benchmarks.certificates import Held, Pki
from benchmarks.place import HAPROXY_PORTS as PORTS
from benchmarks.place import HOST, HTTP1_PORT, HTTP2_PORT, OPAQUE_PORT
from demo.messages import Accepts, Program

_COMMON = """
global
  nbthread 1
  maxconn 8000
  ssl-default-bind-options ssl-min-ver TLSv1.3 no-tls-tickets
  ssl-default-server-options ssl-min-ver TLSv1.3 no-tls-tickets
defaults
  timeout connect 1s
  timeout client 60s
  timeout server 60s
"""
# Rows of the table, each with how HAProxy is told which protocol it is on either side.
_MODES = (
    ("http1", "http", "", "http/1.1"),
    ("http2", "http", "proto h2", "h2"),
    ("tcp", "tcp", "", ""),
)
_ORIGIN = {"http1": HTTP1_PORT, "http2": HTTP2_PORT, "tcp": OPAQUE_PORT}


def write(
    binary: str, folder: Path, pki: Pki, origin: str, env: dict[str, str]
) -> tuple[Program, ...]:
    """Write the pair's configuration; `origin` is the address of the server behind it."""
    folder.mkdir(parents=True)
    sections = {
        "outbound": [_outbound(pki, *mode) for mode in _MODES],
        "inbound": [_inbound(pki, origin, *mode) for mode in _MODES],
    }
    found = []
    for side, parts in sections.items():
        path = folder / f"{side}.cfg"
        path.write_text(_COMMON + "".join(parts))
        port = PORTS.outbound("tcp") if side == "outbound" else PORTS.inbound("tcp")
        argv = (binary, "-db", "-q", "-f", str(path))
        found.append(Program(name=f"haproxy-{side}", argv=argv, env=env, ready=Accepts(HOST, port)))
    return tuple(found)


def _outbound(pki: Pki, row: str, mode: str, plain: str, alpn: str) -> str:
    name = pki.inbound.identity.dns_name
    # A mesh does not resume sessions: each connection proves again who is there.
    tls = f"ssl {_tls(pki, pki.outbound, alpn)} sni str({name}) verifyhost {name} no-ssl-reuse"
    return _section(
        row, mode, f"{HOST}:{PORTS.outbound(row)} {plain}", f"{HOST}:{PORTS.inbound(row)} {tls}"
    )


def _inbound(pki: Pki, origin: str, row: str, mode: str, plain: str, alpn: str) -> str:
    tls = f"ssl {_tls(pki, pki.inbound, alpn)}"
    return _section(
        row, mode, f"{HOST}:{PORTS.inbound(row)} {tls}", f"{origin}:{_ORIGIN[row]} {plain}"
    )


def _tls(pki: Pki, own: Held, alpn: str) -> str:
    negotiated = f" alpn {alpn}" if alpn else ""
    return f"crt {own.pem} ca-file {pki.anchors} verify required{negotiated}"


def _section(row: str, mode: str, bind: str, server: str) -> str:
    return f"""
listen {row}
  mode {mode}
  bind {bind}
  server next {server}
"""
