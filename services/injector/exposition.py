"""How injection goes, as text for Prometheus."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from services.injector.journal import Labels

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_LABELS = ("owner_kind", "namespace", "annotation_at", "skip", "skip_reason")


class Counts(Protocol):
    """What has been counted since the start."""

    @property
    def requests(self) -> int:
        """Questions."""
        ...

    @property
    def responses(self) -> Mapping[Labels, int]:
        """Pods judged, by what came of it."""
        ...

    @property
    def left_out(self) -> int:
        """Events that nobody was told of."""
        ...


def exposition(journal: Counts) -> bytes:
    """The current text."""
    registry = CollectorRegistry()
    registry.register(_Injector(journal))
    return generate_latest(registry)


class _Injector(Collector):
    """Looks at the journal when it is asked."""

    def __init__(self, journal: Counts) -> None:
        self._journal = journal

    def describe(self) -> Iterable[Metric]:
        """Names of families are not asked for in advance."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every family as it is now."""
        asked = CounterMetricFamily(
            "proxy_inject_admission_requests", "Questions of the API server"
        )
        asked.add_metric((), self._journal.requests)
        yield asked
        answers = CounterMetricFamily(
            "proxy_inject_admission_responses", "Pods judged, and how", labels=_LABELS
        )
        for labels, count in sorted(self._journal.responses.items()):
            answers.add_metric(labels, count)
        yield answers
        lost = CounterMetricFamily(
            "tulle_injector_events_left_out", "Events that nobody was told of: too many at once"
        )
        lost.add_metric((), self._journal.left_out)
        yield lost
