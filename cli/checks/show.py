"""Findings for people and for programs."""

from collections.abc import Iterable, Sequence

import click
import msgspec

from cli.checks.frame import Finding, Result, count
from cli.output import printable

_MARKS: dict[Result, tuple[str, str]] = {
    "ok": ("√", "green"),
    "warning": ("‼", "yellow"),
    "failure": ("×", "red"),
}


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All that was found, as JSON."""

    success: bool
    """Nothing failed; there may be warnings."""
    findings: tuple[Finding, ...]


class Table:
    """Shows findings as they come; `short` only those that are not well."""

    def __init__(self, *, short: bool) -> None:
        self._short = short
        self._group = ""

    def show(self, finding: Finding) -> None:
        """One line, with group, message and hint above and below where they are worth it."""
        if self._short and finding.result == "ok":
            return
        if finding.group != self._group:
            click.echo(("\n" if self._group else "") + click.style(finding.group, bold=True))
            self._group = finding.group
        for line in lines(finding):
            click.echo(line)


def lines(finding: Finding) -> Iterable[str]:
    """A finding as text."""
    mark, colour = _MARKS[finding.result]
    yield f"{click.style(mark, fg=colour)} {printable(finding.check)}"
    if finding.message and finding.result == "ok":
        yield click.style(f"    {printable(finding.message)}", dim=True)
    elif finding.message:
        yield f"    {printable(finding.message)}"
    if finding.hint:
        yield f"    → {printable(finding.hint)}"
    if finding.more:
        yield click.style(f"      {finding.more}", dim=True)


def summary(found: Sequence[Finding]) -> str:
    """The last line: how many are well, and whether that is good."""
    counts = {result: sum(f.result == result for f in found) for result in _MARKS}
    if counts["failure"]:
        mark, colour = _MARKS["failure"]
    else:
        mark, colour = _MARKS["ok"]
    warnings, failures = (
        count([f for f in found if f.result == result], result) for result in ("warning", "failure")
    )
    told = f"{counts['ok']} as they should be, {warnings}, {failures}"
    return f"{click.style(mark, fg=colour)} {told}"
