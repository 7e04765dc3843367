"""`tulle edges`: who talked to whom, and whether they proved who they are."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from cli.options import (
    mesh_option,
    namespace_options,
    one_namespace,
    output_option,
    window_option,
)

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from common.contract.telemetry import EdgeRow, EdgesReply

COLUMNS = ("SRC", "DST", "SRC_NS", "DST_NS", "CLIENT_ID", "SERVER_ID", "SECURED")


@click.command()
@click.argument("name", required=False, default="")
@namespace_options
@window_option()
@output_option("table", "wide", "json")
@click.option("--watch", is_flag=True, help="Ask again every two seconds, until Ctrl-C.")
@mesh_option()
def edges(
    name: str, namespace: str, everywhere: bool, window: float, form: str, watch: bool
) -> None:
    """Show who talked to whom, and whether both ends proved who they are.

    SECURED is √ for mutual TLS, else one word that says why not. With NAME, a deployment, pod or service,
    only the edges that begin or end there. CLIENT_ID and SERVER_ID are ACCOUNT.NAMESPACE of identities
    proven in the handshake; `-o wide` shows them in full, with protocol and figures.
    """
    from cli.answers import show
    from cli.mesh import ask
    from common.contract import subjects
    from common.contract.telemetry import EdgesRequest, Filter

    of = Filter(namespace=one_namespace(namespace, everywhere), name=name)
    request = EdgesRequest(of=of, window=window)
    show(
        lambda bus: ask(bus, subjects.edges(), request),
        lambda reply: rendered(reply, wide=form == "wide"),
        as_json=form == "json",
        watch=watch,
    )


def rendered(reply: "EdgesReply", *, wide: bool) -> "Table":
    """The answer as a table."""
    from cli.output import FIGURES, MORE_FIGURES, figures, table

    if not wide:
        return table(COLUMNS, (_cells(row, _short) for row in reply.rows))
    return table(
        (*COLUMNS, "PROTOCOL", *FIGURES, *MORE_FIGURES),
        ((*_cells(row, str), row.protocol, *figures(row.figures, more=True)) for row in reply.rows),
    )


def _cells(row: "EdgeRow", spell: Callable[[str], str]) -> "tuple[str | Text, ...]":
    from rich.text import Text

    from cli.output import printable

    secured = (
        Text("√", style="green")
        if row.mtls
        else Text(printable(row.no_tls_reason or "no"), style="yellow")
    )
    ends = (row.source, row.target, row.source_namespace, row.target_namespace)
    return (*ends, spell(row.source_identity), spell(row.target_identity), secured)


def _short(identity: str) -> str:
    """`ACCOUNT.NAMESPACE` of a SPIFFE ID of this mesh's shape; anything else as it is."""
    from common.errors import InvalidName
    from common.names import Identity

    try:
        parsed = Identity.parse(identity)
    except InvalidName:
        return identity
    return f"{parsed.service_account}.{parsed.namespace}"
