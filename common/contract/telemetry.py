"""What was measured: reports of proxies, and questions about the recent past."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

BUCKETS_MS: tuple[float, ...] = (
    *(1, 2, 3, 4, 5, 10, 20, 30, 40, 50),
    *(100, 200, 300, 400, 500, 1_000, 2_000, 3_000, 4_000, 5_000),
    *(10_000, 20_000, 30_000, 40_000, 50_000),
)
"""Upper bounds of the latency histogram's buckets, in milliseconds; one more bucket has no bound."""

Direction = Literal["inbound", "outbound"]


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """The other end of a series: who a proxy talked to, as far as it knows."""

    service: str = ""
    """`name.namespace` that the client asked for (outbound only); empty if it asked for an address."""
    port: int = 0
    """The service's port (outbound) or the application's port (inbound)."""
    workload: str = ""
    namespace: str = ""
    owner: str = ""
    identity: str = ""
    """SPIFFE ID proven in the handshake; empty without mutual TLS."""
    address: str = ""
    """Where nothing better is known: the bare IP address."""


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """Cumulative counters of one (direction, peer, protocol) since the report's `started`."""

    direction: Direction
    peer: Peer
    protocol: Literal["http/1.1", "http/2", "grpc", "tcp"]
    no_tls_reason: str = ""
    """Empty: mutual TLS. Else one word, such as `not-meshed` or `no-tls-from-remote`."""
    requests: int = 0
    """Requests (HTTP) that were answered or given up; for TCP, connections that ended."""
    failures: int = 0
    """Of those: HTTP 5xx, gRPC errors, answers that the proxy had to make itself; TCP: ended by an error."""
    statuses: dict[str, int] = {}
    """Requests by status code as text; the proxy's own answers are there too."""
    grpc_statuses: dict[str, int] = {}
    """gRPC calls by their own status as text, as far as it is known."""
    errors: dict[str, int] = {}
    """Proxy-made answers by reason, the word in `tulle-error`."""
    latency: tuple[int, ...] = ()
    """Counts by bucket of BUCKETS_MS plus one; not cumulative over buckets. Time to the first response byte."""
    latency_sum_ms: float = 0.0
    open_connections: int = 0
    """A gauge: TCP connections of this series that are open now."""
    bytes_read: int = 0
    """From the peer."""
    bytes_written: int = 0
    """To the peer."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All series of one proxy, cumulative since `started`; a new `started` means a new process."""

    namespace: str
    workload: str
    owner: str
    identity: str
    started: float
    time: float
    series: tuple[Series, ...] = ()
    final: bool = False
    """The proxy is going; no report with this `started` follows."""


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of the mesh a question is about; empty fields match everything."""

    namespace: str = ""
    name: str = ""
    """Owner or workload name."""


class StatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """How did these do in the last `window` seconds?"""

    kind: Literal["deploy", "pod", "svc", "ns"] = "deploy"
    of: Filter = Filter()
    window: Annotated[float, Meta(gt=0, le=3600)] = 60.0


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """The golden metrics of something over a window."""

    requests: int = 0
    success_rate: float | None = None
    """Between 0 and 1; null if there was no request."""
    rps: float = 0.0
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    tcp_connections: int = 0
    bytes_read: int = 0
    bytes_written: int = 0


class StatRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `tulle stat`."""

    namespace: str
    name: str
    meshed: str
    """`ready/all` workloads that reported in the window, such as `2/2`."""
    figures: Figures


class StatReply(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to StatRequest."""

    rows: tuple[StatRow, ...]
    window: float
    """What was asked for, in seconds; the figures may cover less, as `covered` says."""
    covered: float
    """Seconds that this replica has listened for, `window` at most: less means it has not seen it all."""


class EdgesRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Who talked to whom in the last `window` seconds?"""

    of: Filter = Filter()
    window: Annotated[float, Meta(gt=0, le=3600)] = 60.0


class EdgeRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `tulle edges`: one source, one target, one protocol."""

    source: str
    source_namespace: str
    target: str
    target_namespace: str
    source_identity: str = ""
    target_identity: str = ""
    mtls: bool
    no_tls_reason: str = ""
    protocol: str
    figures: Figures


class EdgesReply(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to EdgesRequest."""

    rows: tuple[EdgeRow, ...]
    window: float
    covered: float
