"""How destination does, as text for Prometheus."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.destination.index import Index
from services.destination.publish import Stats
from services.destination.sources.standing import Standing

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(
    index: Index, stats: Stats, standing: Callable[[], Standing], leading: Callable[[], bool]
) -> Callable[[], bytes]:
    """What returns the current text."""
    registry = CollectorRegistry()
    registry.register(_Destination(index, stats, standing, leading))
    return lambda: generate_latest(registry)


class _Destination(Collector):
    """Looks at everything when it is asked."""

    def __init__(
        self,
        index: Index,
        stats: Stats,
        standing: Callable[[], Standing],
        leading: Callable[[], bool],
    ) -> None:
        self._index = index
        self._stats = stats
        self._standing = standing
        self._leading = leading

    def describe(self) -> Iterable[Metric]:
        """Names of families are not asked for in advance."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every family as it is now."""
        index, stats, standing = self._index, self._stats, self._standing()
        kinds = GaugeMetricFamily(
            "tulle_destination_objects", "Objects known, by kind", labels=["kind"]
        )
        for kind, count in (
            ("Service", len(index.services)),
            ("EndpointSlice", len(index.slices)),
            ("Pod", len(index.pods)),
            ("Namespace", len(index.namespaces)),
            ("Node", len(index.nodes)),
            ("MeshSettings", len(index.settings)),
        ):
            kinds.add_metric([kind], count)
        yield kinds
        for name, text, value in (
            ("leading", "1 if this replica holds the lease and publishes", self._leading()),
            ("documents", "Documents on the bus, as the publishing replica knows", stats.published),
            ("waiting", "Answers to be looked at again", stats.waiting),
            ("broken", "Files or objects that cannot be understood", len(standing.broken)),
            ("silent", "Kinds of which nothing is heard just now", len(standing.silent)),
            ("loaded", "1 once the whole source has been looked at", standing.loaded),
        ):
            yield GaugeMetricFamily(f"tulle_destination_{name}", text, value=value)
        for name, text, value in (
            ("written", "Documents written to the bus", stats.written),
            ("conflicts", "Writes refused because somebody else had written", stats.conflicts),
            ("failures", "Writes that failed because the bus was away", stats.failures),
        ):
            yield CounterMetricFamily(f"tulle_destination_{name}", text, value=value)
