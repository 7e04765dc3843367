"""Telemetry's rows as the document that is printed, and when that document says that all is well."""

import msgspec

from common.contract.telemetry import EdgeRow, Figures
from demo.figures import document, ordered, over, problems
from demo.layout import TRANSPARENT_NETWORK, lay_out
from demo.plan import parse
from demo.rotation import Rotated

LAYOUT = lay_out(
    parse(
        """
namespace: shop
workloads:
  - {name: traffic, command: x, calls: [web]}
  - {name: web, command: x, ports: [80]}
  - {name: db, command: x, ports: [5432], meshed: false}
"""
    ),
    "transparent",
    TRANSPARENT_NETWORK,
)


def row(source: str, target: str, *, requests: int = 10, mtls: bool = True) -> EdgeRow:
    return EdgeRow(
        source=source,
        source_namespace="shop",
        target=target,
        target_namespace="shop",
        source_identity="spiffe://cluster.local/ns/shop/sa/" + source if mtls else "",
        target_identity="spiffe://cluster.local/ns/shop/sa/" + target if mtls else "",
        mtls=mtls,
        no_tls_reason="" if mtls else "not-meshed",
        protocol="http/1.1",
        figures=Figures(
            requests=requests, success_rate=0.97126, rps=1.0, p50_ms=3.1415, p95_ms=9.0, p99_ms=21.4
        ),
    )


def test_the_document_has_the_promised_shape() -> None:
    made = document(LAYOUT, over(20.0, (row("traffic", "web", requests=812),)))

    assert msgspec.to_builtins(made) == {
        "ok": True,
        "transparent": True,
        "edges": (
            {
                "source": "traffic",
                "target": "web",
                "source_identity": "spiffe://cluster.local/ns/shop/sa/traffic",
                "target_identity": "spiffe://cluster.local/ns/shop/sa/web",
                "mtls": True,
                "protocol": "http/1.1",
                "requests": 812,
                "success_rate": 0.9713,
                "rps": 40.6,
                "p50_ms": 3.14,
                "p95_ms": 9.0,
                "p99_ms": 21.4,
            },
        ),
    }


def test_traffic_with_mutual_tls_on_every_promised_call_is_well() -> None:
    assert problems(LAYOUT, (row("traffic", "web"),)) == ()


def test_no_traffic_is_not_well() -> None:
    expected = ("there was no traffic", "traffic → web: no traffic")

    assert problems(LAYOUT, ()) == expected
    assert problems(LAYOUT, (row("traffic", "web", requests=0),)) == expected


def test_a_meshed_edge_without_mutual_tls_is_not_well() -> None:
    rows = (row("traffic", "web"), row("traffic", "web", mtls=False))

    assert problems(LAYOUT, rows) == ("traffic → web: no mutual TLS (not-meshed)",)
    assert not document(LAYOUT, rows).ok


def test_an_edge_to_what_is_not_meshed_may_be_plain() -> None:
    assert problems(LAYOUT, (row("traffic", "web"), row("web", "db", mtls=False))) == ()


def test_connections_that_are_open_still_are_counted() -> None:
    pool = msgspec.structs.replace(
        row("traffic", "web"), protocol="tcp", figures=Figures(requests=3, tcp_connections=2)
    )

    (edge,) = document(LAYOUT, over(10.0, (pool,))).edges
    assert (edge.requests, edge.rps) == (5, 0.5)
    idle = msgspec.structs.replace(pool, figures=Figures(tcp_connections=1))
    assert problems(LAYOUT, (idle,)) == ()


def test_rows_come_in_the_order_of_the_application_file() -> None:
    rows = (row("another", "db"), row("web", "db"), row("traffic", "db"), row("traffic", "web"))

    assert [(r.source, r.target) for r in ordered(LAYOUT, rows)] == [
        ("traffic", "web"),
        ("traffic", "db"),
        ("web", "db"),
        ("another", "db"),
    ]


def test_a_promised_call_that_carried_nothing_is_not_well() -> None:
    assert problems(LAYOUT, (row("web", "db", mtls=False),)) == ("traffic → web: no traffic",)


def test_a_rotation_that_failed_or_was_noticed_is_not_well() -> None:
    rows = (row("traffic", "web"),)
    failed = Rotated(completed=False, acknowledged=3, why="nobody is there")
    noticed = Rotated(completed=True, acknowledged=10, failed_requests=2)

    assert problems(LAYOUT, rows, failed) == ("the rotation was not completed: nobody is there",)
    assert problems(LAYOUT, rows, noticed) == ("2 requests failed during or after the rotation",)
    assert document(LAYOUT, rows, noticed).ok is False
    assert document(LAYOUT, rows, Rotated(completed=True, acknowledged=10)).ok is True
