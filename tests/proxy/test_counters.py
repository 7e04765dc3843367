"""What the proxy counts is told, whenever it was counted."""

from common.contract.telemetry import Peer
from proxy.observe.counters import IDLE_SECONDS, Counters

PEER = Peer(service="books.shop", port=8000)


def test_a_request_on_its_way_during_a_report_is_not_lost() -> None:
    counters = Counters()
    counter = counters.series("outbound", PEER, "http/1.1", "")

    counters.forget_idle(now=5_000.0)
    counter.request(200, None, 0.003, 5_000.1, failed=False)

    assert [series.requests for series in counters.all()] == [1]


def test_what_is_idle_for_long_is_forgotten_and_says_so() -> None:
    counters = Counters()
    counter = counters.series("outbound", PEER, "http/1.1", "")
    counter.request(200, None, 0.003, 5_000.0, failed=False)

    assert counters.forget_idle(now=5_000.0 + IDLE_SECONDS) == []
    assert counters.forget_idle(now=5_001.0 + IDLE_SECONDS) == [counter.key]
    assert counter.forgotten
    assert counters.all() == []
    assert counters.series("outbound", PEER, "http/1.1", "") is not counter
