"""`tulle identity`: which certificate each workload has, what signed it, and when it ends."""

from typing import TYPE_CHECKING

import click

from cli.options import mesh_option, namespace_options, one_namespace, output_option

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from cli.leaves import Leaves, Row

COLUMNS = ("NAMESPACE", "WORKLOAD", "IDENTITY", "SERIAL", "ENDS", "CHAIN")
_SHOWN_SERIAL = 16
_SHOWN_KEY = 8
_SETTLED_SECONDS = 11.0
"""Within so long everybody who is there has been heard."""
_STYLES = {"valid": "green", "expired": "red", "untrusted": "red", "none": "yellow"}


@click.command()
@click.argument("workloads", nargs=-1, metavar="[WORKLOAD]...")
@namespace_options
@output_option("table", "json")
@mesh_option()
def identity(workloads: tuple[str, ...], namespace: str, everywhere: bool, form: str) -> int:
    """Show the certificate that each workload shows to others now, and when it ends.

    WORKLOAD is a pod's name, or NAMESPACE/NAME; without any, all are shown. CHAIN names what signed the
    certificate, by the beginning of its key identifier, as far as the trust anchor; -o json has everything
    in full. A workload that was not heard for 35 seconds is not there, and to name one that is not fails.

    \b
    Examples:
      tulle identity
      tulle identity shop/web-1 -o json
    """
    from cli.leaves import fetch, missing
    from cli.mesh import named_mesh, operator_bus, run
    from cli.output import console, json, note

    mesh, of = named_mesh(), one_namespace(namespace, everywhere)

    async def ask() -> "Leaves":
        async with operator_bus(mesh) as bus:
            return await fetch(bus, of)

    found = run(ask)
    rows = [
        row for row in found.rows if not workloads or not missing([row], _words(row, workloads))
    ]
    if form == "json":
        print(json({"time": found.time, "signers": found.signers, "rows": rows}))
    elif rows:
        console().print(rendered(rows))
    if found.covered < _SETTLED_SECONDS:
        note(f"identity has listened for {found.covered:.0f} s only: some may be missing")
    absent = missing(rows, workloads)
    for word in absent:
        note(f"{word}: no workload of that name was heard of in the last 35 s")
    if not rows and not absent:
        note("no workload was heard of in the last 35 s")
    return 1 if absent else 0


def rendered(rows: "list[Row]") -> "Table":
    """The rows as a table."""
    from cli.output import table

    return table(COLUMNS, map(_cells, rows))


def _words(row: "Row", workloads: tuple[str, ...]) -> list[str]:
    """The words that mean this row, or, if none does, one that means no row."""
    own = (row.workload, row.workload.partition("/")[2])
    return [word for word in workloads if word in own] or [""]


def _cells(row: "Row") -> "tuple[str | Text, ...]":
    from rich.text import Text

    namespace, _, name = row.workload.partition("/")
    ends = Text(_ends(row), style=_STYLES[row.state])
    chain = " → ".join(f"{link.role} {link.key[:_SHOWN_KEY]}" for link in row.chain)
    return namespace, name, row.identity, row.serial[:_SHOWN_SERIAL], ends, chain


def _ends(row: "Row") -> str:
    from cli.durations import about

    if row.expires_in is None:
        return "holds none"
    if row.expires_in <= 0:
        return f"{about(-row.expires_in)} ago"
    return f"in {about(row.expires_in)}{', untrusted' if row.state == 'untrusted' else ''}"
