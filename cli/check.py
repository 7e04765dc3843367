"""`tulle check`: is the mesh as it should be?"""

import click

from cli.options import mesh_option, output_option


@click.command()
@output_option("table", "json", "short")
@mesh_option()
def check(form: str) -> int:
    """Look at the mesh directory, the bus and the identity service, and say what is not as it should be.

    Warnings are for what works now and will not for ever: they begin 60 days before a trust anchor or an
    issuer ends. The exit status is 1 if anything failed, warnings do not count. With -o short only what
    is not well is shown, nothing if all is.
    """
    from cli.checks import GROUPS
    from cli.checks.context import Context
    from cli.checks.frame import Finding, findings
    from cli.checks.show import Report, Table, summary
    from cli.mesh import named_mesh, run
    from cli.output import json

    mesh, found = named_mesh(), list[Finding]()
    table = None if form == "json" else Table(short=form == "short")

    async def look() -> None:
        async with Context(mesh) as context:
            async for finding in findings(GROUPS, context):
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
