"""The live table: each edge with how it goes and whether both ends proved who they are."""

from collections.abc import Iterable

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from common.contract.telemetry import EdgeRow
from demo.session import Session

_WIDE = 122
"""With so many columns the identities have one of their own."""
_NUMBERS = ("success", "req/s", "p50", "p95", "p99")


def heading(session: Session) -> str:
    """Where the mesh can be looked at while it runs: nothing here is cut, it is there to be copied."""
    how = "intercepted in network namespaces" if session.layout.transparent else "by http_proxy"
    lines = (
        ("traffic", how),
        ("NATS", session.nats_url),
        ("metrics", session.metrics_url),
        ("listen", session.listen_command),
    )
    return "\n".join(f"{name:>8}  {value}" for name, value in lines)


def edges(rows: Iterable[EdgeRow], *, width: int, title: str) -> RenderableType:
    """The edges; where the terminal is narrow the identities stand below."""
    rows = tuple(rows)
    wide = width >= _WIDE
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("edge", no_wrap=True)
    table.add_column("protocol", no_wrap=True)
    for name in _NUMBERS:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("mTLS", justify="center", no_wrap=True)
    if wide:
        table.add_column("identities", no_wrap=True)
    for row in rows:
        figures = row.figures
        cells: list[str | Text] = [
            f"{row.source} → {row.target}",
            row.protocol,
            _success(figures.success_rate),
            f"{figures.rps:.1f}",
            *map(_milliseconds, (figures.p50_ms, figures.p95_ms, figures.p99_ms)),
            Text("√", style="green") if row.mtls else Text("×", style="red"),
        ]
        if wide:
            cells.append("\n".join(_identities(row)) or row.no_tls_reason)
        table.add_row(*cells)
    return table if wide else Group(table, *_legend(rows))


def _identities(row: EdgeRow) -> tuple[str, ...]:
    return (row.source_identity, row.target_identity) if row.mtls else ()


def _legend(rows: tuple[EdgeRow, ...]) -> list[Text]:
    """One line for each identity that was proven, and for each edge without."""
    lines = dict.fromkeys(identity for row in rows for identity in _identities(row))
    lines |= dict.fromkeys(
        f"{row.source} → {row.target}: {row.no_tls_reason}" for row in rows if not row.mtls
    )
    return [Text(f"  {line}", style="dim") for line in lines]


def _success(rate: float | None) -> Text:
    if rate is None:
        return Text("–")
    # 99.996 % is not all.
    percent = 100.0 if rate == 1 else min(rate * 100, 99.99)
    style = "green" if rate >= 0.99 else "yellow" if rate >= 0.9 else "red"
    return Text(f"{percent:.2f} %", style=style)


def _milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"
