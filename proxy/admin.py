"""What the proxy's admin port answers: /live, /ready, /metrics."""

from collections.abc import Callable, Mapping

from common.admin import Admin, Answer, ready
from proxy.observe.counters import Counters
from proxy.observe.exposition import CONTENT_TYPE, exposition


def admin(
    listen: str,
    *,
    is_ready: Callable[[], bool],
    counters: Counters,
    gauges: Callable[[], Mapping[str, float]],
) -> Admin:
    """The admin server; `gauges` are numbers that are only read when somebody asks."""

    def metrics() -> Answer:
        return 200, CONTENT_TYPE, exposition(counters, gauges())

    return Admin(listen, {"/ready": ready(is_ready), "/metrics": metrics})
