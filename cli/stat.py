"""`tulle stat`: how workloads and services did."""

from typing import TYPE_CHECKING, Literal

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

    from common.contract.telemetry import StatReply, StatRequest

Kind = Literal["deploy", "pod", "svc", "ns"]
KINDS: dict[str, Kind] = {
    "deploy": "deploy",
    "deployment": "deploy",
    "deployments": "deploy",
    "ns": "ns",
    "namespace": "ns",
    "namespaces": "ns",
    "po": "pod",
    "pod": "pod",
    "pods": "pod",
    "service": "svc",
    "services": "svc",
    "svc": "svc",
}


@click.command()
@click.argument("what", metavar="[KIND[/NAME]]", default="deploy")
@namespace_options
@window_option()
@output_option("table", "wide", "json")
@click.option("--watch", is_flag=True, help="Ask again every two seconds, until Ctrl-C.")
@mesh_option()
def stat(
    what: str, namespace: str, everywhere: bool, window: float, form: str, watch: bool
) -> None:
    """Show how workloads or services did: success rate, requests per second, latency.

    KIND is deploy (the default), pod, svc or ns. Workloads are told by what their own proxies
    received, services by what their meshed clients got back. MESHED is how many proxies are heard of
    now, of all that reported in the window.

    \b
    Examples:
      tulle stat                      every deployment, over the last minute
      tulle stat deploy/web -t 10m    one of them, over ten minutes
      tulle stat svc -n shop -o json  the services of a namespace, for a program
    """
    from cli.answers import show
    from cli.mesh import ask
    from common.contract import subjects

    request = _request(what, one_namespace(namespace, everywhere), window)
    show(
        lambda bus: ask(bus, subjects.stat(), request),
        lambda reply: rendered(reply, wide=form == "wide", with_namespace=not namespace),
        as_json=form == "json",
        watch=watch,
    )


def _request(what: str, namespace: str, window: float) -> "StatRequest":
    from common.contract.telemetry import Filter, StatRequest

    kind, slash, name = what.partition("/")
    if kind not in KINDS or (slash and not name):
        raise click.UsageError(
            f"{what!r}: expected KIND or KIND/NAME; KIND is deploy, pod, svc or ns"
        )
    return StatRequest(kind=KINDS[kind], of=Filter(namespace=namespace, name=name), window=window)


def rendered(reply: "StatReply", *, wide: bool, with_namespace: bool) -> "Table":
    """The answer as a table."""
    from cli.output import FIGURES, MORE_FIGURES, figures, table

    columns = ("NAME", "MESHED", *FIGURES, *(MORE_FIGURES if wide else ()))
    rows = (
        (row.namespace, row.name, row.meshed, *figures(row.figures, more=wide))
        for row in reply.rows
    )
    if with_namespace:
        return table(("NAMESPACE", *columns), rows)
    return table(columns, (row[1:] for row in rows))
