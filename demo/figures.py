"""Telemetry's answer as the document that `--json` prints, and whether all is as it should be."""

import msgspec

from common.contract.telemetry import EdgeRow
from demo.layout import Layout
from demo.rotation import Rotated


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """Who called whom, and how it went, over the whole run. For "tcp" a request is a connection."""

    source: str
    target: str
    source_identity: str
    target_identity: str
    mtls: bool
    protocol: str
    requests: int
    success_rate: float | None
    rps: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """What `tulle demo --json` prints; `ok` as in `problems`."""

    ok: bool
    transparent: bool
    edges: tuple[Edge, ...]
    rotation: Rotated | msgspec.UnsetType = msgspec.UNSET
    """Only with `--rotate`."""


def ordered(layout: Layout, rows: tuple[EdgeRow, ...]) -> tuple[EdgeRow, ...]:
    """The rows in the order in which the application file has their sources, then their targets."""
    names = list(dict.fromkeys(replica.workload.name for replica in layout.replicas))
    places = {name: place for place, name in enumerate(names)}

    def place(row: EdgeRow) -> tuple[int, int]:
        return places.get(row.source, len(places)), places.get(row.target, len(places))

    return tuple(sorted(rows, key=place))


def carried(row: EdgeRow) -> int:
    """Requests; for TCP, connections: those that ended and those that are open still."""
    return row.figures.requests + row.figures.tcp_connections


def over(seconds: float, rows: tuple[EdgeRow, ...]) -> tuple[EdgeRow, ...]:
    """The rows with requests per second as of `seconds`, for which there was traffic.

    Telemetry's own are as of the time for which it has listened to a proxy.
    """
    return tuple(
        msgspec.structs.replace(
            row,
            figures=msgspec.structs.replace(row.figures, rps=carried(row) / seconds),
        )
        for row in rows
    )


def document(layout: Layout, rows: tuple[EdgeRow, ...], rotated: Rotated | None = None) -> Document:
    """The rows as a document."""
    return Document(
        ok=not problems(layout, rows, rotated),
        transparent=layout.transparent,
        edges=tuple(_edge(row) for row in rows),
        rotation=rotated or msgspec.UNSET,
    )


def problems(
    layout: Layout, rows: tuple[EdgeRow, ...], rotated: Rotated | None = None
) -> tuple[str, ...]:
    """What is not as it should be.

    No traffic, a call that did not happen, an edge without mutual TLS, a rotation that was noticed.
    """
    busy = [row for row in rows if carried(row)]
    calls = {
        (row.source, row.target)
        for row in busy
        if row.source_namespace == row.target_namespace == layout.namespace
    }
    found = [] if busy else ["there was no traffic"]
    found += [
        f"{source} → {target}: no traffic"
        for source, target in layout.calls
        if (source, target) not in calls
    ]
    found += [
        f"{row.source} → {row.target}: no mutual TLS ({row.no_tls_reason or 'no reason known'})"
        for row in rows
        if not row.mtls and layout.meshed(row.source) and layout.meshed(row.target)
    ]
    if rotated is not None and not rotated.completed:
        found.append(f"the rotation was not completed: {rotated.why}")
    if rotated is not None and rotated.failed_requests:
        found.append(f"{rotated.failed_requests} requests failed during or after the rotation")
    return tuple(found)


def _edge(row: EdgeRow) -> Edge:
    figures = row.figures
    return Edge(
        source=row.source,
        target=row.target,
        source_identity=row.source_identity,
        target_identity=row.target_identity,
        mtls=row.mtls,
        protocol=row.protocol,
        requests=carried(row),
        success_rate=_rounded(figures.success_rate, 4),
        rps=round(figures.rps, 2),
        p50_ms=_rounded(figures.p50_ms, 2),
        p95_ms=_rounded(figures.p95_ms, 2),
        p99_ms=_rounded(figures.p99_ms, 2),
    )


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
