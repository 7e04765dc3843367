"""`/metrics`: text that Prometheus' own parser reads, with sums that only grow."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from common.contract.telemetry import Peer
from services.telemetry.exposition import exposition
from services.telemetry.ledger import Ledger
from services.telemetry.totals import Totals
from services.telemetry.track import HORIZON
from tests.support.reports import BOOKS, FROM_WEB, WEB, report, series


class Mesh:
    """A ledger, its totals and what Prometheus would read now."""

    def __init__(self, most: int = 100) -> None:
        self.now = 0.0
        self.totals = Totals(most)
        self.ledger = Ledger(0.0, self.totals.grow)
        self._text = exposition(self.ledger, self.totals, lambda: self.now)

    def scrape(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        families = text_string_to_metric_families(self._text().decode())
        return {
            (sample.name, frozenset((k, v) for k, v in sample.labels.items() if v)): sample.value
            for family in families
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        wanted = set(labels.items())
        found = [v for (n, have), v in self.scrape().items() if n == name and wanted <= have]
        assert found, f"no {name} with {labels}"
        return sum(found)


@pytest.fixture
def mesh() -> Mesh:
    mesh = Mesh()
    to_books = series(
        10,
        failures=3,
        statuses={"200": 7, "503": 3},
        errors={"no-endpoints": 2},
        latency=(4, 0, 6),
        latency_sum_ms=17.5,
        open_connections=2,
        bytes_read=100,
        bytes_written=50,
    )
    mesh.ledger.apply(report(to_books, age=10.0), 10.0)
    mesh.ledger.apply(report(to_books, workload="web-2", age=10.0), 10.0)
    mesh.now = 11.0
    return mesh


def test_an_edge_is_told_in_the_words_that_dashboards_know(mesh: Mesh) -> None:
    edge = {
        "direction": "outbound",
        "namespace": "shop",
        "deployment": "web",
        "dst_namespace": "shop",
        "dst_deployment": "books",
        "dst_service": "books",
        "protocol": "http/1.1",
        "tls": "true",
        "client_id": WEB,
        "server_id": BOOKS,
    }

    assert mesh.value("request_total", **edge) == 20
    assert mesh.value("response_total", **edge, classification="success") == 14
    assert mesh.value("response_total", **edge, classification="failure") == 6
    assert mesh.value("response_status_total", **edge, status_code="503") == 6
    assert mesh.value("response_error_total", **edge, error="no-endpoints") == 4
    assert mesh.value("response_latency_ms_bucket", **edge, le="1") == 8
    assert mesh.value("response_latency_ms_bucket", **edge, le="2") == 8
    assert mesh.value("response_latency_ms_bucket", **edge, le="3") == 20
    assert mesh.value("response_latency_ms_count", **edge) == 20
    assert mesh.value("response_latency_ms_sum", **edge) == 35.0
    assert mesh.value("tcp_open_connections", **edge) == 4
    assert mesh.value("tcp_read_bytes_total", **edge) == 200
    assert mesh.value("tcp_write_bytes_total", **edge) == 100


def test_inbound_series_name_the_client_by_its_proven_identity(mesh: Mesh) -> None:
    inbound = series(5, direction="inbound", peer=FROM_WEB)
    mesh.ledger.apply(report(inbound, workload="books-1", age=1.0), 12.0)

    named = {"direction": "inbound", "deployment": "books", "client_id": WEB, "server_id": BOOKS}
    assert mesh.value("request_total", **named) == 5


def test_tcp_connections_are_no_requests() -> None:
    mesh = Mesh()
    tcp = series(4, protocol="tcp", failures=1, latency=())
    mesh.ledger.apply(report(tcp, age=1.0), 1.0)

    assert mesh.value("tcp_close_total", classification="failure") == 1
    assert not any(name.startswith(("request", "response")) for name, _ in mesh.scrape())


def test_addresses_without_a_name_share_one_line() -> None:
    mesh = Mesh()
    egress = [
        series(1, peer=Peer(address=f"192.0.2.{i}"), no_tls_reason="not-meshed") for i in range(9)
    ]
    mesh.ledger.apply(report(*egress, age=1.0), 1.0)

    assert len(mesh.totals) == 1
    assert mesh.value("request_total", tls="no_identity", no_tls_reason="not-meshed") == 9


def test_sums_never_fall_though_proxies_restart_or_are_forgotten(mesh: Mesh) -> None:
    mesh.ledger.apply(report(series(1), started=9000.0, age=1.0), 20.0)
    mesh.now = 20.0 + 2 * HORIZON
    mesh.ledger.apply(report(series(1), started=9500.0, age=1.0), mesh.now)

    assert len(mesh.ledger) == 1
    assert mesh.value("request_total") == 22


def test_label_sets_are_bounded_and_what_is_left_out_is_counted() -> None:
    mesh = Mesh(most=2)
    peers = [Peer(service=f"s{i}.shop") for i in range(5)]
    mesh.ledger.apply(report(*(series(1, peer=peer) for peer in peers), age=1.0), 1.0)

    assert mesh.value("request_total") == 2
    assert mesh.value("telemetry_edges_refused_total") == 3


def test_telemetry_tells_how_it_does_itself(mesh: Mesh) -> None:
    mesh.ledger.apply(report(series(-1), age=20.0, final=True), 20.0)
    mesh.now = 21.0

    assert mesh.value("telemetry_reports_total", outcome="applied") == 3
    assert mesh.value("telemetry_proxies") == 2
    assert mesh.value("telemetry_proxies_live") == 1
    assert mesh.value("telemetry_series_refused_total") == 1
