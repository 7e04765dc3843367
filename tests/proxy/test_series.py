"""What the proxy counts and how it is told on /metrics, as Prometheus' own parser understands it."""

import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from common.contract.telemetry import BUCKETS_MS, Peer
from proxy.observe.counters import SERIES_LIMIT, Counters, report
from proxy.observe.exposition import exposition
from proxy.refusals import ConnectFailed, NoEndpoints

BOOKS = Peer(
    service="books.shop",
    port=8000,
    workload="books-1",
    namespace="shop",
    owner="books",
    identity="spiffe://cluster.local/ns/shop/sa/books",
)
Sample = tuple[str, frozenset[tuple[str, str]]]


def scrape(counters: Counters, **gauges: float) -> dict[Sample, float]:
    """What Prometheus reads; fails if a series is told twice."""
    found: dict[Sample, float] = {}
    for sample in samples(exposition(counters, gauges)):
        key = (sample.name, frozenset(sample.labels.items()))
        assert key not in found, key
        found[key] = sample.value
    return found


def samples(text: bytes) -> Iterator[Any]:
    for family in text_string_to_metric_families(text.decode()):
        yield from family.samples


def value(found: dict[Sample, float], name: str, **labels: str) -> float:
    wanted = set(labels.items())
    values = [v for (n, have), v in found.items() if n == name and wanted <= have]
    assert len(values) == 1, f"{name} {labels}: {len(values)} of {sorted(n for n, _ in found)}"
    return values[0]


def answered(counters: Counters, *milliseconds: float, peer: Peer = BOOKS, **changes: Any) -> None:
    values: dict[str, Any] = {"status": 200, "error": None, "now": 1.0, "failed": False, **changes}
    counter = counters.series("outbound", peer, "http/1.1", "")
    for one in milliseconds:
        counter.request(seconds=one / 1000, **values)


@pytest.mark.parametrize(
    ("milliseconds", "bucket"),
    [
        *((0.0, 0), (0.5, 0), (1.0, 0), (1.001, 1), (2.0, 1), (5.0, 4), (5.1, 5), (10.0, 5)),
        *((49_999.0, -2), (50_000.0, -2), (50_001.0, -1), (1e9, -1)),
    ],
)
def test_a_latency_is_in_the_bucket_whose_bound_it_does_not_exceed(
    milliseconds: float, bucket: int
) -> None:
    counters = Counters()
    answered(counters, milliseconds)
    [series] = counters.all()
    expected = [0] * (len(BUCKETS_MS) + 1)
    expected[bucket] = 1

    assert series.latency == tuple(expected)
    assert series.latency_sum_ms == pytest.approx(milliseconds)


def test_a_series_is_the_same_for_the_same_key_and_another_for_another() -> None:
    counters = Counters()
    one = counters.series("outbound", BOOKS, "http/1.1", "")

    assert counters.series("outbound", Peer(**peer_fields(BOOKS)), "http/1.1", "") is one
    assert counters.series("inbound", BOOKS, "http/1.1", "") is not one
    assert counters.series("outbound", BOOKS, "tcp", "") is not one
    assert counters.series("outbound", BOOKS, "http/1.1", "not-meshed") is not one


def peer_fields(peer: Peer) -> dict[str, Any]:
    return {name: getattr(peer, name) for name in peer.__struct_fields__}


def test_what_is_over_the_limit_is_counted_together_and_nothing_is_lost() -> None:
    counters = Counters()
    for n in range(SERIES_LIMIT + 500):
        answered(counters, 1.0, peer=Peer(address=f"10.{n // 65536}.{n // 256 % 256}.{n % 256}"))
    told = counters.all()

    assert len(told) <= SERIES_LIMIT + 1
    assert sum(series.requests for series in told) == SERIES_LIMIT + 500
    [rest] = [series for series in told if series.peer == Peer()]
    assert rest.requests == 500


def test_an_open_connection_is_never_forgotten() -> None:
    counters = Counters()
    counter = counters.series("outbound", BOOKS, "tcp", "")
    counter.opened(1.0)
    assert counters.forget_idle(1e9) == []
    counter.closed(None, 2.0, 1e9)

    assert counters.forget_idle(1e9 + 1) == []
    assert counters.forget_idle(2e9) == [counter.key]


def test_connections_are_counted_when_they_open_and_when_they_end() -> None:
    counters = Counters()
    counter = counters.series("outbound", BOOKS, "tcp", "")
    for _ in range(3):
        counter.opened(1.0)
    counter.closed(None, 0.002, 2.0)
    counter.closed(ConnectionResetError(), 0.002, 2.0)
    counter.bytes_read += 7
    counter.bytes_written += 9
    found = scrape(counters)

    assert value(found, "tcp_open_total") == 3
    assert value(found, "tcp_close_total") == 2
    assert value(found, "tcp_open_connections") == 1
    assert value(found, "tcp_read_bytes_total") == 7
    assert value(found, "tcp_write_bytes_total") == 9
    assert value(found, "http_errors_total", error="reset") == 1
    [series] = counters.all()
    assert (series.requests, series.failures, series.open_connections) == (2, 1, 1)


def test_requests_are_told_with_their_peer_statuses_errors_and_latency() -> None:
    counters = Counters()
    answered(counters, 0.4, 3.0, 3.5, 70_000.0)
    answered(counters, 1.0, status=503, error=NoEndpoints(), failed=True)
    answered(counters, 1.0, status=404)
    found = scrape(counters)

    assert value(found, "request_total", direction="outbound", dst_service="books") == 6
    assert value(found, "response_total", status_code="200", classification="success") == 4
    assert value(found, "response_total", status_code="503", classification="failure") == 1
    assert value(found, "response_total", status_code="404", classification="success") == 1
    assert value(found, "http_errors_total", error="no-endpoints") == 1
    assert value(found, "response_latency_ms_bucket", le="1") == 3
    assert value(found, "response_latency_ms_bucket", le="4") == 5
    assert value(found, "response_latency_ms_bucket", le="+Inf") == 6
    assert value(found, "response_latency_ms_count") == 6
    assert value(found, "response_latency_ms_sum") == pytest.approx(70_008.9)
    [labels] = [dict(have) for (name, have), _ in found.items() if name == "request_total"]
    assert labels == {
        "direction": "outbound",
        "protocol": "http/1.1",
        "tls": "true",
        "server_id": "spiffe://cluster.local/ns/shop/sa/books",
        "dst_service": "books",
        "dst_namespace": "shop",
        "dst_owner": "books",
        "dst_pod": "books-1",
        "target_port": "8000",
    }


def test_buckets_are_cumulative_and_end_with_all() -> None:
    counters = Counters()
    answered(counters, *(2.0**n for n in range(20)))
    buckets = [
        sample.value
        for sample in samples(exposition(counters, {}))
        if sample.name == "response_latency_ms_bucket"
    ]

    assert buckets == sorted(buckets)
    assert len(buckets) == len(BUCKETS_MS) + 1
    assert buckets[-1] == 20


def test_plain_text_says_why_there_was_no_tls() -> None:
    counters = Counters()
    counters.series("inbound", Peer(port=80, address="10.0.0.9"), "http/1.1", "no-tls").opened(1.0)
    found = scrape(counters)

    assert value(found, "request_total", tls="no_identity", no_tls_reason="no-tls") == 0
    assert value(found, "request_total", target_ip="10.0.0.9", target_port="80") == 0


def test_the_openssl_that_it_is_linked_with_is_told() -> None:
    assert value(scrape(Counters()), "proxy_openssl_info", version=ssl.OPENSSL_VERSION) == 1


def test_what_was_refused_on_arrival_is_counted_by_its_rule() -> None:
    counters = Counters()
    for word in ("two-hosts", "two-hosts", "bad-length"):
        counters.rejected("inbound", word)
    counters.refused_connections += 4
    counters.rejected_transports += 5
    counters.lookup_unanswered()
    found = scrape(counters)

    assert value(found, "rejected_requests_total", direction="inbound", rule="two-hosts") == 2
    assert value(found, "rejected_requests_total", direction="inbound", rule="bad-length") == 1
    assert value(found, "proxy_refused_connections_total") == 4
    assert value(found, "proxy_rejected_transports_total") == 5
    assert value(found, "proxy_unanswered_lookups_total") == 1


@pytest.mark.parametrize(
    "number", [0.0, 1.0, 17.0, 0.25, 123_456.7, 999_999.0, 1_700_000_000.123, 1e12]
)
def test_gauges_are_told_as_they_are(number: float) -> None:
    assert value(scrape(Counters(), x=number), "x") == pytest.approx(number, rel=1e-5)


def test_a_boolean_gauge_is_one_or_nought() -> None:
    found = scrape(Counters(), proxy_ready=True, other=False)

    assert (value(found, "proxy_ready"), value(found, "other")) == (1, 0)


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb", "a{b}=c,d", "ü", "\\n", 'a\\"'])
def test_any_name_of_a_workload_is_escaped(name: str) -> None:
    counters = Counters()
    answered(counters, 1.0, peer=Peer(workload=name, port=1))

    assert value(scrape(counters), "request_total", dst_pod=name) == 1


def test_nothing_counted_is_told_without_error() -> None:
    found = scrape(Counters())

    assert value(found, "process_cpu_seconds_total") > 0
    assert value(found, "process_max_resident_memory_bytes") > 1_000_000


words = st.sampled_from(["", "a"])
ports = st.sampled_from([0, 80])
endpoints = st.builds(
    Peer,
    service=st.sampled_from(["", "books.a"]),
    port=ports,
    workload=words,
    namespace=words,
    owner=words,
    identity=words,
    address=words,
).map(lambda peer: replace(peer, namespace=peer.service.partition(".")[2] or peer.namespace))
clients = st.builds(Peer, port=ports, identity=words, address=words)
keys = st.tuples(
    st.one_of(st.tuples(st.just("outbound"), endpoints), st.tuples(st.just("inbound"), clients)),
    st.sampled_from(["http/1.1", "tcp"]),
    st.sampled_from(["", "x"]),
)


@given(st.sets(keys, max_size=12))
@settings(max_examples=60, deadline=None)
def test_different_series_never_have_the_same_labels(found: set[Any]) -> None:
    counters = Counters()
    for (direction, peer), protocol, reason in found:
        counters.series(direction, peer, protocol, reason).request(
            200, None, 0.001, 1.0, failed=False
        )

    scrape(counters)  # looks for doubles


def test_a_report_carries_every_series_and_who_made_it() -> None:
    counters = Counters()
    answered(counters, 1.0, status=502, error=ConnectFailed(), failed=True)
    message = report(
        counters,
        namespace="shop",
        workload="web-1",
        owner="web",
        identity="spiffe://x",
        started=5.0,
        now=9.0,
        final=True,
    )

    assert (message.workload, message.started, message.time, message.final) == (
        "web-1",
        5.0,
        9.0,
        True,
    )
    [series] = message.series
    assert (series.requests, series.failures) == (1, 1)
    assert series.statuses == {"502": 1}
    assert series.errors == {"connect-failed": 1}


def test_a_snapshot_does_not_change_when_counting_goes_on() -> None:
    counters = Counters()
    answered(counters, 1.0)
    [before] = counters.all()
    answered(counters, 1.0, status=500)
    [after] = counters.all()

    assert (before.requests, after.requests) == (1, 2)
    assert before.statuses == {"200": 1}
    assert sum(before.latency) == 1
