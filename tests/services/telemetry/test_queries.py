"""What `tulle stat` and `tulle edges` are told, from reports of a small shop."""

import pytest

from common.contract.telemetry import EdgeRow, EdgesRequest, Filter, Peer, StatRequest
from services.telemetry import queries
from services.telemetry.ledger import Ledger
from tests.support.reports import BOOKS, FROM_WEB, WEB, report, series

OUTSIDE = Peer(address="93.184.216.34", port=443)
PASSER_BY = Peer(address="10.9.9.9", port=8000)
DB = Peer(service="db.store", port=5432, workload="db-0", namespace="store", address="10.0.0.9")
NOW = 20.0


@pytest.fixture
def shop() -> Ledger:
    """Two copies of web and one of books, 20 s old, that reported at 10 s and 20 s."""
    ledger = Ledger(-100.0)
    for at in (10.0, 20.0):
        n = int(at)
        to_books = series(n * 5, failures=n, latency=(n * 4, n))
        egress = series(n, peer=OUTSIDE, no_tls_reason="not-meshed")
        tcp = series(
            n // 10, peer=DB, protocol="tcp", no_tls_reason="not-meshed", open_connections=2
        )
        inbound = series(n * 10, direction="inbound", peer=FROM_WEB, failures=n * 2)
        stranger = series(
            n, direction="inbound", peer=PASSER_BY, no_tls_reason="no-tls-from-remote"
        )
        ledger.apply(report(to_books, egress, tcp, workload="web-1", age=at), at)
        ledger.apply(report(to_books, workload="web-2", age=at), at)
        ledger.apply(report(inbound, stranger, workload="books-1", age=at), at)
    return ledger


def edges(ledger: Ledger, **of: str) -> dict[str, EdgeRow]:
    reply = queries.edges(ledger, EdgesRequest(of=Filter(**of)), NOW)
    return {f"{row.source} → {row.target}": row for row in reply.rows}


def stat(ledger: Ledger, request: StatRequest) -> dict[str, tuple[str, int]]:
    reply = queries.stat(ledger, request, NOW)
    return {f"{row.namespace}/{row.name}": (row.meshed, row.figures.requests) for row in reply.rows}


def test_an_edge_joins_all_copies_of_its_source(shop: Ledger) -> None:
    reply = queries.edges(shop, EdgesRequest(), NOW)
    edge = next(row for row in reply.rows if row.target == "books" and row.mtls)

    assert (edge.source, edge.source_namespace, edge.target_namespace) == ("web", "shop", "shop")
    assert (edge.source_identity, edge.target_identity) == (WEB, BOOKS)
    assert (edge.protocol, edge.no_tls_reason) == ("http/1.1", "")
    assert (edge.figures.requests, edge.figures.success_rate, edge.figures.rps) == (200, 0.8, 10.0)
    assert (edge.figures.p50_ms, edge.figures.p95_ms) == (0.625, 1.75)


def test_targets_are_named_by_owner_else_service_else_address(shop: Ledger) -> None:
    assert list(edges(shop)) == [
        "10.9.9.9 → books",
        "web → 93.184.216.34",
        "web → books",
        "web → db",
    ]


def test_only_a_handshake_puts_identities_on_an_edge(shop: Ledger) -> None:
    reply = queries.edges(shop, EdgesRequest(), NOW)
    plain = {
        row.target: (row.mtls, row.no_tls_reason, row.source_identity, row.target_identity)
        for row in reply.rows
        if row.source != "web" or row.target != "books"
    }

    assert plain == {
        "books": (False, "no-tls-from-remote", "", ""),
        "93.184.216.34": (False, "not-meshed", "", ""),
        "db": (False, "not-meshed", "", ""),
    }


def test_a_tcp_edge_tells_connections_ended_and_open(shop: Ledger) -> None:
    reply = queries.edges(shop, EdgesRequest(of=Filter(name="db")), NOW)

    (edge,) = reply.rows
    assert (edge.target_namespace, edge.protocol) == ("store", "tcp")
    assert (edge.figures.requests, edge.figures.tcp_connections) == (2, 2)


def test_an_owner_the_client_did_not_know_is_known_by_its_identity(shop: Ledger) -> None:
    by_service = Peer(service="library.shop", identity=BOOKS)
    shop.apply(report(series(3, peer=by_service), workload="kiosk-1", age=1.0), NOW)

    assert list(edges(shop, name="kiosk")) == ["kiosk → books"]


def test_an_identity_that_two_owners_share_names_neither(shop: Ledger) -> None:
    shop.apply(report(workload="films-1", identity=BOOKS, age=1.0), NOW)
    by_service = Peer(service="library.shop", identity=BOOKS)
    shop.apply(report(series(3, peer=by_service), workload="kiosk-1", age=1.0), NOW)

    assert list(edges(shop, name="kiosk")) == ["kiosk → library"]


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        ({"name": "books"}, ["10.9.9.9 → books", "web → books"]),
        ({"name": "web-2"}, ["web → books"]),
        ({"name": "books-1"}, ["10.9.9.9 → books", "web → books"]),
        ({"namespace": "store"}, ["web → db"]),
        ({"namespace": "store", "name": "web"}, []),
        ({"namespace": "nowhere"}, []),
    ],
)
def test_a_filter_finds_edges_by_either_end(
    shop: Ledger, of: dict[str, str], expected: list[str]
) -> None:
    assert list(edges(shop, **of)) == expected


def test_an_edge_on_which_nothing_moved_in_the_window_is_left_out(shop: Ledger) -> None:
    shop.apply(report(series(100, failures=20, latency=(80, 20)), workload="web-2", age=30.0), 30.0)
    reply = queries.edges(shop, EdgesRequest(window=5.0), 30.0)

    assert reply.rows == ()


def test_deployments_are_told_by_what_their_own_proxies_received(shop: Ledger) -> None:
    assert stat(shop, StatRequest()) == {"shop/books": ("1/1", 220), "shop/web": ("2/2", 0)}


def test_pods_and_namespaces_are_other_ways_to_group_the_same(shop: Ledger) -> None:
    pods = {"shop/books-1": ("1/1", 220), "shop/web-1": ("1/1", 0), "shop/web-2": ("1/1", 0)}

    assert stat(shop, StatRequest(kind="pod")) == pods
    assert stat(shop, StatRequest(kind="ns")) == {"shop/shop": ("3/3", 220)}


def test_services_are_told_by_their_clients_and_count_no_tcp_connection_as_request(
    shop: Ledger,
) -> None:
    rows = stat(shop, StatRequest(kind="svc"))

    assert rows == {"shop/books": ("-", 200), "store/db": ("-", 0)}


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (StatRequest(of=Filter(name="books")), ["shop/books"]),
        (StatRequest(of=Filter(name="web-1"), kind="pod"), ["shop/web-1"]),
        (StatRequest(of=Filter(name="web"), kind="pod"), ["shop/web-1", "shop/web-2"]),
        (StatRequest(of=Filter(name="shop"), kind="ns"), ["shop/shop"]),
        (StatRequest(of=Filter(name="web"), kind="ns"), []),
        (StatRequest(of=Filter(namespace="store"), kind="svc"), ["store/db"]),
        (StatRequest(of=Filter(namespace="store")), []),
    ],
)
def test_a_filter_finds_workloads_by_owner_or_name(
    shop: Ledger, request_: StatRequest, expected: list[str]
) -> None:
    assert list(stat(shop, request_)) == expected


def test_meshed_counts_who_is_heard_of_among_who_did_not_say_goodbye(shop: Ledger) -> None:
    shop.apply(report(workload="web-2", age=25.0, final=True), 25.0)
    for at in (25.0, 35.0, 45.0, 55.0):
        shop.apply(report(workload="books-1", age=at), at)

    reply = queries.stat(shop, StatRequest(), 60.0)

    assert {row.name: row.meshed for row in reply.rows} == {"books": "1/1", "web": "0/1"}


def test_a_rate_is_taken_over_the_time_that_was_heard_of(shop: Ledger) -> None:
    reply = queries.stat(shop, StatRequest(window=3600.0, of=Filter(name="books")), 300.0)

    (row,) = reply.rows
    assert row.figures.rps == 11.0
    assert (reply.window, reply.covered) == (3600.0, 400.0)


def test_a_client_without_any_name_is_unknown_and_still_an_edge() -> None:
    ledger = Ledger(0.0)
    nameless = series(1, direction="inbound", peer=Peer())
    ledger.apply(report(nameless, workload="books-1", age=5.0), NOW)

    assert list(edges(ledger)) == ["unknown → books"]
