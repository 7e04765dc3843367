"""The table as people see it, in wide and in narrow terminals."""

from io import StringIO

import pytest
from rich.console import Console

from common.contract.telemetry import EdgeRow, Figures
from demo.table import edges

ROWS = (
    EdgeRow(
        source="books",
        source_namespace="shop",
        target="authors",
        target_namespace="shop",
        source_identity="spiffe://cluster.local/ns/shop/sa/books",
        target_identity="spiffe://cluster.local/ns/shop/sa/authors",
        mtls=True,
        protocol="http/1.1",
        figures=Figures(
            requests=812, success_rate=0.99999, rps=40.6, p50_ms=3.14, p95_ms=99.9, p99_ms=1234.5
        ),
    ),
    EdgeRow(
        source="books",
        source_namespace="shop",
        target="db",
        target_namespace="shop",
        mtls=False,
        no_tls_reason="not-meshed",
        protocol="tcp",
        figures=Figures(),
    ),
)


def shown(width: int) -> list[str]:
    page = StringIO()
    Console(file=page, width=width).print(edges(ROWS, width=width, title="the last 10 seconds"))
    return [line.strip() for line in page.getvalue().splitlines()]


def test_a_wide_table_has_the_identities_beside_each_edge() -> None:
    lines = shown(130)

    first = next(line for line in lines if line.startswith("books → authors"))
    assert first.split()[3:] == [
        *("http/1.1", "99.99", "%", "40.6", "3.1", "ms", "99.9", "ms", "1234", "ms", "√"),
        "spiffe://cluster.local/ns/shop/sa/books",
    ]
    second = next(line for line in lines if line.startswith("books → db"))
    assert second.split()[-2:] == ["×", "not-meshed"]


@pytest.mark.parametrize("width", [80, 121])
def test_a_narrow_table_has_the_identities_below_and_is_not_cut(width: int) -> None:
    lines = shown(width)

    assert not any("…" in line for line in lines)
    assert lines[-3:] == [
        "spiffe://cluster.local/ns/shop/sa/books",
        "spiffe://cluster.local/ns/shop/sa/authors",
        "books → db: not-meshed",
    ]


def test_no_success_rate_is_rounded_up_to_all() -> None:
    assert not any("100.00 %" in line for line in shown(130))
