"""What is shown: short figures, honest percentages, and nothing that could command a terminal."""

import json as stdlib_json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from cli import edges, stat
from cli.output import figures, json, milliseconds, printable, table
from common.contract.telemetry import EdgeRow, EdgesReply, Figures, StatReply, StatRow
from tests.support.reports import BOOKS, WEB

FIGURES = Figures(
    requests=812,
    success_rate=0.99996,
    rps=40.6,
    p50_ms=0.84,
    p95_ms=21.4,
    p99_ms=1234.0,
    tcp_connections=3,
    bytes_read=10,
    bytes_written=20,
)


def lines(what: object) -> list[str]:
    """As it is printed, with one space for any number of them."""
    console = Console(width=1000, record=False, force_terminal=False)
    with console.capture() as capture:
        console.print(what)
    return [" ".join(line.split()) for line in capture.get().splitlines()]


def test_figures_are_short_and_never_claim_more_than_is_true() -> None:
    assert list(map(str, figures(FIGURES))) == ["99.99%", "40.6", "0.8ms", "21ms", "1.2s", "3"]


def test_without_requests_there_is_nothing_to_claim() -> None:
    assert lines(table(("A",) * 6, [figures(Figures())]))[1] == "- - - - - 0"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, ""), (0.0, "0.0ms"), (9.94, "9.9ms"), (9.96, "10ms"), (999.0, "999ms"), (5e4, "50.0s")],
)
def test_latencies_have_the_unit_that_reads_best(value: float | None, shown: str) -> None:
    assert milliseconds(value) == shown


@given(st.text())
def test_nothing_from_the_mesh_commands_the_terminal(text: str) -> None:
    for shown in (
        printable(text),
        json({"a": text.encode(errors="replace").decode()}, one_line=True),
    ):
        assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cs", "Co", "Zl", "Zp"}


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_json_says_the_same_however_it_is_spelled(text: str) -> None:
    document = {"a": [text, 1, None]}

    assert stdlib_json.loads(json(document)) == document
    assert stdlib_json.loads(json(document, one_line=True)) == document
    assert "\n" not in json(document, one_line=True)


def test_markup_in_a_name_is_only_text() -> None:
    assert lines(table(("NAME",), [("[red]web[/red]",), ("\x1b[31m",)]))[1:] == [
        "[red]web[/red]",
        "\\u001b[31m",
    ]


def test_stat_has_the_columns_that_people_know() -> None:
    row = StatRow(namespace="shop", name="web", meshed="2/2", figures=FIGURES)
    reply = StatReply(rows=(row,), window=60, covered=60)

    short, wide = (
        lines(stat.rendered(reply, wide=wide, with_namespace=not wide)) for wide in (False, True)
    )
    assert short == [
        "NAMESPACE NAME MESHED SUCCESS RPS LATENCY_P50 LATENCY_P95 LATENCY_P99 TCP_CONN",
        "shop web 2/2 99.99% 40.6 0.8ms 21ms 1.2s 3",
    ]
    assert wide[0].endswith("TCP_CONN REQUESTS READ_BYTES WRITE_BYTES")
    assert wide[1].startswith("web 2/2 ")
    assert wide[1].endswith(" 3 812 10 20")


def test_edges_say_who_proved_to_be_who_or_why_not() -> None:
    ends = {"source": "web", "source_namespace": "shop", "target_namespace": "shop"}
    secured = EdgeRow(
        **ends,
        target="books",
        source_identity=WEB,
        target_identity=BOOKS,
        mtls=True,
        protocol="http/1.1",
        figures=FIGURES,
    )
    plain = EdgeRow(
        **ends, target="db", mtls=False, no_tls_reason="not-meshed", protocol="tcp", figures=FIGURES
    )
    reply = EdgesReply(rows=(secured, plain), window=60, covered=60)

    short, wide = (lines(edges.rendered(reply, wide=wide)) for wide in (False, True))
    assert short == [
        "SRC DST SRC_NS DST_NS CLIENT_ID SERVER_ID SECURED",
        "web books shop shop web.shop books.shop √",
        "web db shop shop - - not-meshed",
    ]
    assert f" {WEB} {BOOKS} √ http/1.1 " in wide[1]
    assert wide[2].endswith(" tcp 99.99% 40.6 0.8ms 21ms 1.2s 3 812 10 20")
