"""`tulle check`: is the mesh as it should be?"""

from typing import TYPE_CHECKING

import click

from cli.options import Duration, mesh_option, one_namespace, output_option

if TYPE_CHECKING:
    from cli.checks.plan import Subject
    from cli.ways import Way

_HOUR = 3600.0


@click.command()
@click.option("--pre", is_flag=True, help="Look whether Tulle can be installed in the cluster.")
@click.option("--proxy", is_flag=True, help="Look at the proxies of every meshed namespace.")
@click.option("-n", "--namespace", metavar="NS", default="", help="This namespace only.")
@click.option(
    "--wait",
    "patience",
    type=Duration(0.0, _HOUR),
    default="0s",
    metavar="DURATION",
    help="Look again at what fails until it does not, for so long at most, such as 5m.",
)
@output_option("table", "json", "short")
@mesh_option()
def check(pre: bool, proxy: bool, namespace: str, patience: float, form: str) -> int:
    """Look at the mesh and say what is not as it should be, and what to do about it.

    \b
    tulle check --pre     before installing: may it be, and will pods be able to start?
    tulle check           the control plane: keys, NATS, services, certificates, the webhook
    tulle check --proxy   the proxies: who should have one, and what each has in force

    Of a mesh directory the first is left out. Warnings are for what works now and will not for ever, such as
    an anchor that ends within 60 days. The exit status is 1 if anything failed; warnings do not count. With
    -o short only what is not well is shown, nothing if all is. docs/checks.md has more about each.
    """
    from cli.checks.context import Context
    from cli.checks.frame import Finding
    from cli.checks.plan import gone_through
    from cli.checks.show import Report, Table, summary
    from cli.mesh import run
    from cli.output import json

    subject = _subject(pre, proxy)
    namespace = one_namespace(namespace, False)
    if namespace and subject == "mesh":
        raise click.UsageError("-n goes with --pre or --proxy")
    way, found = _way(subject), list[Finding]()
    table = None if form == "json" else Table(short=form == "short")

    async def look() -> None:
        async with Context(way, namespace=namespace) as context:
            async for finding in gone_through(subject, context, patience):
                found.append(finding)
                if table is not None:
                    table.show(finding)

    run(look)
    success = all(finding.result != "failure" for finding in found)
    if form == "json":
        print(json(Report(success=success, findings=tuple(found))))
    elif form == "table":
        click.echo(f"\n{summary(found)}")
    return 0 if success else 1


def _subject(pre: bool, proxy: bool) -> "Subject":
    if pre and proxy:
        raise click.UsageError("--pre and --proxy exclude each other; expected one of them")
    return "pre" if pre else "proxy" if proxy else "mesh"


def _way(subject: "Subject") -> "Way":
    from cli.mesh import named_mesh

    way = named_mesh()
    if subject == "pre" and way.cluster is None:
        raise click.UsageError(
            "--pre looks at a cluster; expected --context NAME, not a mesh directory"
        )
    return way
