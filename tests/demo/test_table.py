"""The table as people see it, in wide and in narrow terminals."""

from io import StringIO

import msgspec
import pytest
from rich.console import Console

from common.contract.telemetry import EdgeRow, Figures
from demo.table import edges, starting

TCP = "tcp: connections instead of requests, and how long they lasted."

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
        *("http/1.1", "99.99", "%", "40.6", "3.1", "ms", "99.9", "ms", "1.2", "s", "√"),
        "spiffe://cluster.local/ns/shop/sa/books",
    ]
    second = next(line for line in lines if line.startswith("books → db"))
    assert second.split()[-3:] == ["×", "none:", "not-meshed"]


@pytest.mark.parametrize("width", [80, 121])
def test_a_narrow_table_has_the_identities_below_and_is_not_cut(width: int) -> None:
    lines = shown(width)

    assert not any("…" in line for line in lines)
    assert lines[-6:] == [
        "√ both ends proved who they are:",
        "spiffe://cluster.local/ns/shop/sa/books",
        "spiffe://cluster.local/ns/shop/sa/authors",
        "× books → db: not-meshed",
        "",
        TCP,
    ]


def test_what_is_to_be_known_of_the_application_stands_below() -> None:
    page = StringIO()
    picture = edges(ROWS[:1], width=130, title="", about="The failures are meant.")
    Console(file=page, width=130).print(picture)

    assert page.getvalue().splitlines()[-1].strip() == "The failures are meant."


def test_connections_of_which_none_has_ended_are_told_as_open() -> None:
    pool = msgspec.structs.replace(ROWS[1], figures=Figures(tcp_connections=2))
    page = StringIO()
    Console(file=page, width=130).print(edges([pool], width=130, title=""))

    line = next(line for line in page.getvalue().splitlines() if "books → db" in line)
    assert line.split()[3:7] == ["tcp", "–", "2", "open"]


def test_a_mesh_without_traffic_has_no_empty_table() -> None:
    page = StringIO()
    Console(file=page, width=80).print(edges([], width=80, title="the last 10 seconds"))

    assert page.getvalue().strip() == "the last 10 seconds: no traffic yet"


@pytest.mark.parametrize(
    ("programs", "told"),
    [
        (("nats-server", "web-1-redirect"), "nats-server"),
        (("a-1-proxy", "b-1-proxy", "a-1", "b-1", "b-2"), "a, b ×2 and 2 proxies"),
        (("a-1", "a-1-proxy"), "a and 1 proxy"),
        (("web-1-redirect",), ""),
    ],
)
def test_programs_that_start_are_told_as_people_count_them(
    programs: tuple[str, ...], told: str
) -> None:
    assert starting(programs) == told


def test_no_success_rate_is_rounded_up_to_all() -> None:
    assert not any("100.00 %" in line for line in shown(130))
