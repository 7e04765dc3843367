"""Tables and JSON for people and programs; what comes from the mesh cannot command a terminal."""

import re
import sys
from collections.abc import Iterable, Sequence

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from common.contract.telemetry import Figures

FIGURES = ("SUCCESS", "RPS", "LATENCY_P50", "LATENCY_P95", "LATENCY_P99", "TCP_CONN")
MORE_FIGURES = ("REQUESTS", "READ_BYTES", "WRITE_BYTES")
NUMBERS = frozenset((*FIGURES, *MORE_FIGURES))
NOTHING = "-"


# Everything that str.isprintable() refuses, except the end of a line, which `json` makes itself.
_UNPRINTABLE = re.compile(
    r"[\x00-\x09\x0b-\x1f\x7f-\xa0\xad\u1680\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ud800-\uf8ff\ufeff"
    r"\ufff0-\ufffb\U000e0000-\U0010ffff]"
)


def printable(text: str) -> str:
    """The text with whatever could command a terminal spelled out: control, invisible and turning marks."""
    return _UNPRINTABLE.sub(_spelled, text).replace("\n", "\\n")


def _spelled(match: re.Match[str]) -> str:
    """One character as JSON spells it, in UTF-16."""
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def console() -> Console:
    """Where results go: as wide as the terminal, or as wide as it takes where there is none."""
    return Console(width=None if sys.stdout.isatty() else 100_000, highlight=False, soft_wrap=False)


def table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> Table:
    """Columns with two spaces between, numbers to the right; an empty cell is shown as `-`."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        made.add_column(
            column, justify="right" if column in NUMBERS else "left", no_wrap=True, overflow="fold"
        )
    for row in rows:
        made.add_row(
            *(cell if isinstance(cell, Text) else Text(printable(cell or NOTHING)) for cell in row)
        )
    return made


def json(document: object, *, one_line: bool = False) -> str:
    """A document as JSON: indented for people, or on one line for programs that read line by line.

    Characters that are not printable are spelled `\\u…`, which JSON allows.
    """
    encoded = msgspec.json.encode(document)
    text = (encoded if one_line else msgspec.json.format(encoded, indent=2)).decode()
    return _UNPRINTABLE.sub(_spelled, text)


def note(text: str) -> None:
    """Something worth knowing that is not part of the result; goes to standard error."""
    click.echo(click.style(f"tulle: {printable(text)}", dim=True), err=True)


def note_covered(window: float, covered: float) -> None:
    """Say so if the answer speaks of less than was asked for."""
    if covered < window:
        note(
            f"telemetry has listened for {covered:.0f} s of these {window:.0f} s: figures may be low"
        )


def figures(of: Figures, *, more: bool = False) -> list[str | Text]:
    """The cells of FIGURES, and of MORE_FIGURES too if wanted."""
    cells: list[str | Text] = [
        _success(of.success_rate),
        f"{of.rps:.1f}" if of.success_rate is not None else "",
        *map(milliseconds, (of.p50_ms, of.p95_ms, of.p99_ms)),
        str(of.tcp_connections),
    ]
    if more:
        cells += [str(of.requests), str(of.bytes_read), str(of.bytes_written)]
    return cells


def milliseconds(value: float | None) -> str:
    """A latency as short as it can be told: `0.8ms`, `21ms`, `1.2s`."""
    if value is None:
        return ""
    if value >= 1000:
        return f"{value / 1000:.1f}s"
    return f"{value:.1f}ms" if value < 9.95 else f"{value:.0f}ms"


def _success(rate: float | None) -> Text:
    if rate is None:
        return Text(NOTHING)
    # 99.996 % is not all.
    shown = min(rate * 100, 99.99) if rate < 1 else 100.0
    style = "green" if rate >= 0.99 else "yellow" if rate >= 0.9 else "red"
    return Text(f"{shown:.2f}%", style=style)
