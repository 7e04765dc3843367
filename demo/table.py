"""The live table: each edge with how it goes and whether both ends proved who they are."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from common.contract.telemetry import EdgeRow
from demo.session import Session

_WIDE = 118
_NUMBERS = ("success", "req/s", "p50", "p95", "p99")


def heading(session: Session) -> Text:
    """Where the mesh can be looked at while it runs."""
    how = "intercepted in network namespaces" if session.layout.transparent else "by http_proxy"
    lines = (
        ("traffic", how),
        ("NATS", session.nats_url),
        ("metrics", session.metrics_url),
        ("listen", session.listen_command),
    )
    text = Text()
    for name, value in lines:
        text.append(f"{name:>8}  ", style="dim").append(f"{value}\n")
    return text


def edges(rows: Iterable[EdgeRow], *, width: int, title: str) -> Table:
    """The edges; identities are shortened where the terminal is narrow."""
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    table.add_column("edge", no_wrap=True)
    table.add_column("protocol", no_wrap=True)
    for name in _NUMBERS:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("mTLS", justify="center", no_wrap=True)
    table.add_column("identities", overflow="fold")
    for row in rows:
        figures = row.figures
        table.add_row(
            f"{row.source} → {row.target}",
            row.protocol,
            _success(figures.success_rate),
            f"{figures.rps:.1f}",
            *map(_milliseconds, (figures.p50_ms, figures.p95_ms, figures.p99_ms)),
            Text("√", style="green") if row.mtls else Text("×", style="red"),
            _identities(row, short=width < _WIDE),
        )
    return table


def screen(session: Session, rows: Iterable[EdgeRow], *, width: int, title: str) -> RenderableType:
    """Everything that is to be seen."""
    return Group(heading(session), edges(rows, width=width, title=title))


def _identities(row: EdgeRow, *, short: bool) -> str:
    if not row.mtls:
        return row.no_tls_reason
    ends = (row.source_identity, row.target_identity)
    return "\n".join(end.rpartition("/ns/")[2] if short else end for end in ends)


def _success(rate: float | None) -> Text:
    if rate is None:
        return Text("–")
    # 99.996 % is not all.
    percent = 100.0 if rate == 1 else min(rate * 100, 99.99)
    style = "green" if rate >= 0.99 else "yellow" if rate >= 0.9 else "red"
    return Text(f"{percent:.2f} %", style=style)


def _milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"
