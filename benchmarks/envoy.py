"""A pair of Envoys with one worker each: a listener per row of the table, its own statistics, no access log."""

import json
from pathlib import Path
from typing import Any

from benchmarks.certificates import Held, Pki
from benchmarks.place import ENVOY_PORTS as PORTS
from benchmarks.place import HOST, HTTP1_PORT, HTTP2_PORT, OPAQUE_PORT
from demo.messages import Answers, Program

_V3 = "type.googleapis.com/envoy.extensions"
_SIDES = ("outbound", "inbound")
Json = dict[str, Any]


def write(
    binary: str, folder: Path, pki: Pki, origin: str, env: dict[str, str]
) -> tuple[Program, ...]:
    """Write the pair's configuration; `origin` is the address of the server behind it."""
    folder.mkdir(parents=True)
    found = []
    for side, config in zip(_SIDES, (_outbound(pki), _inbound(pki, origin)), strict=True):
        path = folder / f"{side}.json"
        path.write_text(json.dumps(config, indent=1))
        argv = (binary, "-c", str(path), "--concurrency", "1", "--disable-hot-restart")
        ready = Answers(f"http://{HOST}:{PORTS.admin(side)}/ready")
        name = f"envoy-{side}"
        found.append(Program(name=name, argv=(*argv, "-l", "warning"), env=env, ready=ready))
    return tuple(found)


def _outbound(pki: Pki) -> Json:
    http1, http2, opaque = (PORTS.inbound(row) for row in ("http1", "http2", "tcp"))
    return _bootstrap(
        "outbound",
        listeners=[
            _listener("http1", PORTS.outbound("http1"), _http("http1")),
            _listener("http1-h2", PORTS.outbound("http1", "h2"), _http("http1-h2")),
            _listener("http2", PORTS.outbound("http2"), _http("http2")),
            _listener("opaque", PORTS.outbound("tcp"), _opaque("opaque")),
        ],
        clusters=[
            _cluster("http1", HOST, http1, _to_peer(pki, ["http/1.1"]), http=1),
            _cluster("http1-h2", HOST, http1, _to_peer(pki, ["h2"]), http=2),
            _cluster("http2", HOST, http2, _to_peer(pki, ["h2"]), http=2),
            _cluster("opaque", HOST, opaque, _to_peer(pki, [])),
        ],
    )


def _inbound(pki: Pki, origin: str) -> Json:
    alpn = ["h2", "http/1.1"]
    return _bootstrap(
        "inbound",
        listeners=[
            _listener("http1", PORTS.inbound("http1"), _http("http1"), _from_peer(pki, alpn)),
            _listener("http2", PORTS.inbound("http2"), _http("http2"), _from_peer(pki, alpn)),
            _listener("opaque", PORTS.inbound("tcp"), _opaque("opaque"), _from_peer(pki, [])),
        ],
        clusters=[
            _cluster("http1", origin, HTTP1_PORT, http=1),
            _cluster("http2", origin, HTTP2_PORT, http=2),
            _cluster("opaque", origin, OPAQUE_PORT),
        ],
    )


def _bootstrap(side: str, *, listeners: list[Json], clusters: list[Json]) -> Json:
    return {
        "node": {"id": side, "cluster": "bench"},
        "admin": {"address": _address(HOST, PORTS.admin(side))},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    }


def _listener(name: str, port: int, network_filter: Json, socket: Json | None = None) -> Json:
    chain: Json = {"filters": [network_filter]}
    if socket:
        chain["transport_socket"] = socket
    return {"name": name, "address": _address(HOST, port), "filter_chains": [chain]}


def _http(cluster: str) -> Json:
    host = {"name": "all", "domains": ["*"], "routes": [_route(cluster)]}
    router = {"@type": f"{_V3}.filters.http.router.v3.Router"}
    return {
        "name": "http",
        "typed_config": {
            "@type": f"{_V3}.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": cluster,
            "route_config": {"virtual_hosts": [host]},
            "http_filters": [{"name": "router", "typed_config": router}],
        },
    }


def _route(cluster: str) -> Json:
    return {"match": {"prefix": "/"}, "route": {"cluster": cluster}}


def _opaque(cluster: str) -> Json:
    kind = f"{_V3}.filters.network.tcp_proxy.v3.TcpProxy"
    config = {"@type": kind, "stat_prefix": cluster, "cluster": cluster}
    return {"name": "tcp", "typed_config": config}


def _cluster(name: str, address: str, port: int, socket: Json | None = None, http: int = 0) -> Json:
    endpoint = {"endpoint": {"address": _address(address, port)}}
    cluster: Json = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    if socket:
        cluster["transport_socket"] = socket
    if http:
        kind = f"{_V3}.upstreams.http.v3.HttpProtocolOptions"
        version = "http2_protocol_options" if http == 2 else "http_protocol_options"
        options = {"@type": kind, "explicit_http_config": {version: {}}}
        cluster["typed_extension_protocol_options"] = {kind.rpartition("/")[2]: options}
    return cluster


def _to_peer(pki: Pki, alpn: list[str]) -> Json:
    # A mesh does not resume sessions: each connection proves again who is there.
    more = {"sni": pki.inbound.identity.dns_name, "max_session_keys": 0}
    return _tls("UpstreamTlsContext", pki, pki.outbound, pki.inbound, alpn, more)


def _from_peer(pki: Pki, alpn: list[str]) -> Json:
    more = {
        "require_client_certificate": True,
        "disable_stateless_session_resumption": True,
        "disable_stateful_session_resumption": True,
    }
    return _tls("DownstreamTlsContext", pki, pki.inbound, pki.outbound, alpn, more)


def _tls(kind: str, pki: Pki, own: Held, peer: Held, alpn: list[str], more: Json) -> Json:
    name = {"san_type": "URI", "matcher": {"exact": peer.identity.uri}}
    file = {"filename": str(own.pem)}
    common = {
        "tls_params": {  # as a client it would stop at 1.2
            f"tls_{end}_protocol_version": "TLSv1_3" for end in ("minimum", "maximum")
        },
        "tls_certificates": [{"certificate_chain": file, "private_key": file}],
        "validation_context": {
            "trusted_ca": {"filename": str(pki.anchors)},
            "match_typed_subject_alt_names": [name],
        },
        "alpn_protocols": alpn,
    }
    config = {"@type": f"{_V3}.transport_sockets.tls.v3.{kind}", "common_tls_context": common}
    return {"name": "tls", "typed_config": config | more}


def _address(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}
