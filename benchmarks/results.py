"""The record as the document that `--json` prints, and what it says about the targets.

Law: what could not be measured is null, and `details.left_out` says why; the shape is always the same.
"""

from typing import Any

import msgspec

from benchmarks.plan import PRODUCTS, PROTOCOLS, TARGETS, Target
from benchmarks.record import Record

Document = dict[str, Any]
_DIGITS = 3


def document(record: Record) -> Document:
    """The whole document."""
    return {
        "paths": {name: path(record, name) for name in PROTOCOLS},
        "tcp": {"ratio_haproxy": _ratio(record, "tcp", "mb_per_second", "haproxy")},
        "latency": {"p99_ratio_envoy": _against_envoy(record, "latency", "p99_ms")},
        "rss": {"ratio_envoy": memory_ratio(record)},
        "handshakes": {"ratio_haproxy": _ratio(record, "handshakes", "per_second", "haproxy")},
        "details": msgspec.to_builtins(record),
    }


def path(record: Record, row: str) -> Document:
    """CPU per request of one protocol, each product's better way, and the ratio."""
    cost = {f"{name}_cpu_us": cpu(record, row, name) for name in PRODUCTS}
    return cost | {"cpu_ratio_envoy": _against_envoy(record, row, "cpu_us")}


def cpu(record: Record, row: str, product: str) -> float | None:
    """Microseconds of CPU per request and proxy."""
    way = record.better_envoy(row, "cpu_us") if product == "envoy" else product
    return _rounded(record.median(row, way, "cpu_us"), 1)


def memory_ratio(record: Record) -> float | None:
    """Resident memory against Envoy's, idle or with idle connections, whichever is worse for us."""
    ratios = [_ratio(record, "rss", figure, "envoy") for figure in ("idle_mb", "connections_mb")]
    return max((ratio for ratio in ratios if ratio is not None), default=None)


def verdicts(found: Document) -> list[tuple[Target, float | None]]:
    """Each target with the ratio that was measured."""
    return [(target, _look_up(found, target.name)) for target in TARGETS]


def _against_envoy(record: Record, row: str, figure: str) -> float | None:
    return _ratio(record, row, figure, record.better_envoy(row, figure))


def _ratio(record: Record, row: str, figure: str, peer: str) -> float | None:
    return _rounded(record.ratio(row, figure, "tulle", peer), _DIGITS)


def _look_up(found: Document, name: str) -> float | None:
    value: Any = found
    for word in name.split("."):
        value = value[word]
    return None if value is None else float(value)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
