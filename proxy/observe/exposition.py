"""The proxy's numbers in Prometheus' text format (version 0.0.4), walked when somebody asks.

Written here because the Prometheus client library would cost the sidecar more memory than the proxy's
own tables do. Names and labels are those that users of today's meshes have dashboards for.
"""

import os
import resource
import ssl
from collections.abc import Iterable, Mapping

from common.contract.telemetry import BUCKETS_MS, Series
from proxy.observe.counters import Counters

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_FAMILIES = (
    ("request_total", "counter", "HTTP requests."),
    ("response_total", "counter", "HTTP responses, the proxy's own among them."),
    ("response_latency_ms", "histogram", "From a request's head to the end of its response."),
    ("http_errors_total", "counter", "Answers that the proxy made itself, by reason."),
    ("rejected_requests_total", "counter", "What was not HTTP, by the rule that it broke."),
    ("tcp_open_total", "counter", "Opaque connections that were opened."),
    ("tcp_close_total", "counter", "Opaque connections that ended."),
    ("tcp_open_connections", "gauge", "Opaque connections that are open."),
    ("tcp_read_bytes_total", "counter", "Bytes of bodies and opaque connections from the peer."),
    ("tcp_write_bytes_total", "counter", "Bytes of bodies and opaque connections to the peer."),
)

_OPENSSL = {"version": ssl.OPENSSL_VERSION}


def exposition(counters: Counters, gauges: Mapping[str, float]) -> bytes:
    """All series, and `gauges` by name, as text."""
    lines: dict[str, list[str]] = {name: [] for name, _, _ in _FAMILIES}
    for series in counters.all():
        _series(series, lines)
    for (direction, word), count in counters.rejected_requests.items():
        lines["rejected_requests_total"].append(
            _line("rejected_requests_total", {"direction": direction, "rule": word}, count)
        )
    text: list[str] = []
    for name, kind, about in _FAMILIES:
        if lines[name]:
            text += [f"# HELP {name} {about}", f"# TYPE {name} {kind}", *lines[name]]
    for name, value in {**_own(counters), **gauges}.items():
        kind = "counter" if name.endswith("_total") else "gauge"
        text += [
            f"# TYPE {name} {kind}",
            f"{name} {value:g}" if value < 1e6 else f"{name} {value:.3f}",
        ]
    # What TLS is made of: which groups it offers, and whether it is to be replaced, follows from that.
    text += ["# TYPE proxy_openssl_info gauge", _line("proxy_openssl_info", _OPENSSL, 1)]
    return ("\n".join(text) + "\n").encode()


def _own(counters: Counters) -> dict[str, float]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "process_cpu_seconds_total": usage.ru_utime + usage.ru_stime,
        "process_max_resident_memory_bytes": usage.ru_maxrss * 1024.0,
        "process_resident_memory_bytes": _resident_bytes(),
        # The folder is open, too, while it is read.
        "process_open_fds": len(os.listdir("/proc/self/fd")) - 1,
        "process_max_fds": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "proxy_refused_connections_total": counters.refused_connections,
        "proxy_rejected_transports_total": counters.rejected_transports,
        "proxy_unanswered_lookups_total": counters.unanswered_lookups,
    }


def _resident_bytes() -> float:
    with open("/proc/self/statm", "rb") as numbers:
        return int(numbers.read().split()[1]) * resource.getpagesize()


def _series(series: Series, lines: dict[str, list[str]]) -> None:
    base = _labels(series)
    if series.protocol == "tcp":
        opened = series.requests + series.open_connections
        lines["tcp_open_total"].append(_line("tcp_open_total", base, opened))
        lines["tcp_close_total"].append(_line("tcp_close_total", base, series.requests))
        lines["tcp_open_connections"].append(
            _line("tcp_open_connections", base, series.open_connections)
        )
    else:
        lines["request_total"].append(_line("request_total", base, series.requests))
        for status, count in series.statuses.items():
            outcome = "failure" if int(status) >= 500 else "success"
            more = {**base, "status_code": status, "classification": outcome}
            lines["response_total"].append(_line("response_total", more, count))
        lines["response_latency_ms"] += _histogram(series, base)
    for reason, count in series.errors.items():
        lines["http_errors_total"].append(
            _line("http_errors_total", {**base, "error": reason}, count)
        )
    lines["tcp_read_bytes_total"].append(_line("tcp_read_bytes_total", base, series.bytes_read))
    lines["tcp_write_bytes_total"].append(
        _line("tcp_write_bytes_total", base, series.bytes_written)
    )


def _labels(series: Series) -> dict[str, str]:
    """Law: two series that differ have different labels, or Prometheus would drop one of them."""
    peer = series.peer
    service, _, namespace = peer.service.partition(".")
    outbound = series.direction == "outbound"
    told = {
        "no_tls_reason": series.no_tls_reason,
        "server_id" if outbound else "client_id": peer.identity,
        "dst_service": service,
        "dst_namespace": (namespace or peer.namespace) if outbound else "",
        "dst_owner": peer.owner,
        "dst_pod": peer.workload,
        "target_ip": peer.address,
    }
    return {
        "direction": series.direction,
        "protocol": series.protocol,
        "tls": "no_identity" if series.no_tls_reason else "true",
        **{name: text for name, text in told.items() if text},
        "target_port": str(peer.port),
    }


def _histogram(series: Series, labels: Mapping[str, str]) -> Iterable[str]:
    name, total = "response_latency_ms", 0
    for bound, count in zip((*BUCKETS_MS, "+Inf"), series.latency, strict=True):
        total += count
        yield _line(f"{name}_bucket", {**labels, "le": str(bound)}, total)
    yield _line(f"{name}_sum", labels, series.latency_sum_ms)
    yield _line(f"{name}_count", labels, total)


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    inner = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
    return f"{name}{{{inner}}} {value}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
