"""The live table: each edge with how it goes and whether both ends proved who they are."""

import re
from collections import Counter
from collections.abc import Iterable

from rich import box
from rich.console import Group, RenderableType
from rich.constrain import Constrain
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from common.contract.telemetry import EdgeRow
from demo.session import Session

_WIDE = 122
"""With so many columns the identities have one of their own."""
_NUMBERS = ("success", "req/s", "p50", "p95", "p99")
_TCP = "tcp: connections instead of requests, and how long they lasted."


def starting(programs: Iterable[str]) -> str:
    """The programs of a stage as people count them; empty if there are only those that prepare the network."""
    names = [name for name in programs if not name.endswith("-redirect")]
    proxies = [name for name in names if name.endswith("-proxy")]
    counts = Counter(re.sub(r"-\d+$", "", name) for name in names if name not in proxies)
    told = [name if count == 1 else f"{name} ×{count}" for name, count in counts.items()]
    beside = f" and {len(proxies)} {'proxy' if len(proxies) == 1 else 'proxies'}" if proxies else ""
    return ", ".join(told) + beside


def heading(session: Session) -> str:
    """Where the mesh can be looked at while it runs: nothing here is cut, it is there to be copied."""
    how = (
        "intercepted: each replica is in a network namespace of its own, beside its proxy"
        if session.layout.transparent
        else "by http_proxy: each replica is told of its proxy"
    )
    lines = (
        ("traffic", how),
        ("NATS", session.nats_url),
        ("metrics", session.metrics_url),
        ("listen", session.listen_command),
    )
    return "\n".join(f"{name:>8}  {value}" for name, value in lines) + "\n"


def edges(rows: Iterable[EdgeRow], *, width: int, title: str, about: str = "") -> RenderableType:
    """The edges, and what to know `about` them; in a narrow terminal the identities stand below."""
    rows = tuple(rows)
    if not rows:
        return Text(f"{title}: no traffic yet", style="bold")
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
        table.add_column("proven identities", no_wrap=True)
    for row in rows:
        figures = row.figures
        cells: list[str | Text] = [
            f"{row.source} → {row.target}",
            row.protocol,
            _success(figures.success_rate),
            _rate(row),
            *map(_milliseconds, (figures.p50_ms, figures.p95_ms, figures.p99_ms)),
            Text("√", style="green") if row.mtls else Text("×", style="red"),
        ]
        if wide:
            cells.append("\n→ ".join(_identities(row)) or f"none: {row.no_tls_reason}")
        table.add_row(*cells)
    notes = [*(() if wide else _proofs(rows)), *_notes(rows, about)]
    below = [Padding(Text(note, style="dim"), (0, 1)) for note in notes]
    return Group(table, Constrain(Group(*below), _WIDE))


def _identities(row: EdgeRow) -> tuple[str, ...]:
    return (row.source_identity, row.target_identity) if row.mtls else ()


def _proofs(rows: tuple[EdgeRow, ...]) -> list[str]:
    """One line for each identity that was proven, and for each edge without."""
    proven = dict.fromkeys(identity for row in rows for identity in _identities(row))
    lines = ["√ both ends proved who they are:", *(f"  {identity}" for identity in proven)]
    bare = dict.fromkeys(
        f"× {row.source} → {row.target}: {row.no_tls_reason}" for row in rows if not row.mtls
    )
    return [*(lines if proven else ()), *bare, ""]


def _notes(rows: tuple[EdgeRow, ...], about: str) -> list[str]:
    tcp = any(row.protocol == "tcp" for row in rows)
    return [*([about] if about else ()), *([_TCP] if tcp else ())]


def _rate(row: EdgeRow) -> str:
    figures = row.figures
    still = figures.tcp_connections and not figures.requests
    return f"{figures.tcp_connections} open" if still else f"{figures.rps:.1f}"


def _success(rate: float | None) -> Text:
    if rate is None:
        return Text("–")
    # 99.996 % is not all.
    percent = 100.0 if rate == 1 else min(rate * 100, 99.99)
    style = "green" if rate >= 0.99 else "yellow" if rate >= 0.9 else "red"
    return Text(f"{percent:.2f} %", style=style)


def _milliseconds(value: float | None) -> str:
    if value is None:
        return "–"
    if value >= 1000:
        return f"{value / 1000:.1f} s"
    return f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"
