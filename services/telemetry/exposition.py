"""The mesh as text for Prometheus: sums by edge, and how telemetry itself does.

Families and labels are those that dashboards of today's meshes ask for, where they say what we know:
`classification` comes from the proxies' own count of failures, so status codes, which do not tell a
failed gRPC call from a good one, have a family of their own.
"""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from common.contract.telemetry import BUCKETS_MS
from services.telemetry.ledger import Ledger
from services.telemetry.totals import Labels, Total, Totals, labels_of

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_LABELS = Labels.__struct_fields__


def exposition(ledger: Ledger, totals: Totals, now: Callable[[], float]) -> Callable[[], bytes]:
    """What returns the current text; `now` is the clock by which the ledger was told of reports."""
    registry = CollectorRegistry()
    registry.register(_Mesh(ledger, totals, now))
    return lambda: generate_latest(registry)


class _Mesh(Collector):
    """Walks the sums when it is asked."""

    def __init__(self, ledger: Ledger, totals: Totals, now: Callable[[], float]) -> None:
        self._ledger = ledger
        self._totals = totals
        self._now = now

    def describe(self) -> Iterable[Metric]:
        """Nothing beforehand: registering must not walk the sums."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every family, with the values of this moment."""
        yield from _edges(list(self._totals))
        yield _open_connections(self._ledger, self._now())
        yield from _own(self._ledger, self._totals, self._now())


def _edges(totals: list[tuple[Labels, Total]]) -> Iterator[Metric]:
    requests = _counter("request", "Requests that proxies saw answered or given up.")
    responses = _counter("response", "The same by success or failure.", "classification")
    statuses = _counter("response_status", "The same by HTTP status.", "status_code")
    errors = _counter("response_error", "Answers that proxies made, by reason.", "error")
    latency = HistogramMetricFamily(
        "response_latency_ms", "Time to the first byte of the response.", labels=_LABELS
    )
    closed = _counter("tcp_close", "TCP connections that ended.", "classification")
    reads = _counter("tcp_read_bytes", "Bytes read from the peer.")
    writes = _counter("tcp_write_bytes", "Bytes written to the peer.")
    for key, total in totals:
        labels = _values(key)
        ends = closed if key.protocol == "tcp" else responses
        failures = min(total.numbers["failures"], total.numbers["requests"])
        ends.add_metric([*labels, "success"], total.numbers["requests"] - failures)
        ends.add_metric([*labels, "failure"], failures)
        reads.add_metric(labels, total.numbers["bytes_read"])
        writes.add_metric(labels, total.numbers["bytes_written"])
        for error, count in sorted(total.errors.items()):
            errors.add_metric([*labels, error], count)
        if key.protocol != "tcp":
            requests.add_metric(labels, total.numbers["requests"])
            latency.add_metric(labels, _cumulative(total.latency), total.latency_sum_ms)
            for status, count in sorted(total.statuses.items()):
                statuses.add_metric([*labels, status], count)
    yield from (requests, responses, statuses, errors, latency, closed, reads, writes)


def _open_connections(ledger: Ledger, now: float) -> Metric:
    family = GaugeMetricFamily(
        "tcp_open_connections", "TCP connections that are open now.", labels=_LABELS
    )
    sums: dict[Labels, int] = {}
    for account in ledger:
        for key, count in account.open(now).items():
            labels = labels_of(account, key)
            sums[labels] = sums.get(labels, 0) + count
    for labels, count in sorted(sums.items(), key=lambda item: item[0]):
        family.add_metric(_values(labels), count)
    return family


def _own(ledger: Ledger, totals: Totals, now: float) -> Iterator[Metric]:
    reports = CounterMetricFamily(
        "telemetry_reports", "Reports received, by what became of them.", labels=["outcome"]
    )
    for outcome, count in sorted(ledger.outcomes.items()):
        reports.add_metric([outcome], count)
    yield reports
    yield GaugeMetricFamily("telemetry_proxies", "Proxies remembered.", len(ledger))
    live = sum(account.live(now) for account in ledger)
    yield GaugeMetricFamily("telemetry_proxies_live", "Of those, heard of lately.", live)
    yield GaugeMetricFamily("telemetry_series", "Series remembered.", ledger.tracks)
    yield CounterMetricFamily(
        "telemetry_proxies_forgotten", "Proxies forgotten for want of room.", ledger.forgotten
    )
    yield CounterMetricFamily(
        "telemetry_series_refused", "Series left out: absurd, or too many.", ledger.refused
    )
    yield CounterMetricFamily(
        "telemetry_edges_refused", "Growths left out: too many edges.", totals.overflow
    )


def _counter(name: str, help_: str, *more: str) -> CounterMetricFamily:
    return CounterMetricFamily(name, help_, labels=[*_LABELS, *more])


def _values(labels: Labels) -> list[str]:
    return [getattr(labels, name) for name in _LABELS]


def _cumulative(latency: list[int]) -> list[tuple[str, float]]:
    """Prometheus counts a request in every bucket whose bound it does not exceed."""
    buckets: list[tuple[str, float]] = []
    below = 0
    for bound, count in zip((*map(str, BUCKETS_MS), "+Inf"), latency, strict=True):
        below += count
        buckets.append((bound, below))
    return buckets
