"""Reports of proxies, with as little said as a test needs."""

from collections.abc import Sequence
from typing import Any

from common.contract.telemetry import Peer, Report, Series

BOOKS = "spiffe://cluster.local/ns/shop/sa/books"
WEB = "spiffe://cluster.local/ns/shop/sa/web"
TO_BOOKS = Peer(
    service="books.shop",
    port=8000,
    workload="books-1",
    namespace="shop",
    owner="books",
    identity=BOOKS,
)
FROM_WEB = Peer(port=8000, identity=WEB)


def series(requests: int = 0, *, peer: Peer = TO_BOOKS, **more: Any) -> Series:
    """Outbound HTTP/1.1 to books over mutual TLS, answered within a millisecond, unless said otherwise."""
    values: dict[str, Any] = {
        "direction": "outbound",
        "protocol": "http/1.1",
        "requests": requests,
        "latency": (requests,) if requests else (),
        **more,
    }
    return Series(peer=peer, **values)


def report(
    *what: Series, workload: str = "web-1", started: float = 1000.0, age: float = 0.0, **more: Any
) -> Report:
    """The report of web-1 in the namespace shop, `age` seconds into its life."""
    owner = workload.rpartition("-")[0] or workload
    values: dict[str, Any] = {
        "namespace": "shop",
        "owner": owner,
        "identity": f"spiffe://cluster.local/ns/shop/sa/{owner}",
        "time": started + age,
        **more,
    }
    return Report(workload=workload, started=started, series=tuple(what), **values)


def cumulative(counts: Sequence[int], **more: Any) -> list[Report]:
    """One report every ten seconds of a life that begins with zero requests."""
    return [report(series(count, **more), age=10.0 * (i + 1)) for i, count in enumerate(counts)]
