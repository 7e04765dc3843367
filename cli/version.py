"""`tulle version`: which Tulle this is, and which runs in the mesh."""

from typing import TYPE_CHECKING

import click

from cli.options import mesh_option, output_option

if TYPE_CHECKING:
    from cli.running import Versions
    from cli.ways import Way


@click.command()
@click.option("--client", is_flag=True, help="Of this command only; asks nobody.")
@output_option("table", "json")
@mesh_option()
def version(client: bool, form: str) -> None:
    """Show which Tulle this is, and which versions of the services and of proxies run in the mesh.

    Where no mesh is named, and kubectl knows no cluster, it is this command's version only.
    """
    import platform

    from common.version import VERSION

    python = platform.python_version()
    if form == "table":
        print(f"tulle {VERSION} (Python {python})")
    way = None if client else _way()
    found = _ask(way) if way else None
    if form == "json":
        _print_json({"version": VERSION, "python": python}, found)
    elif found:
        _print_table(found)


def _way() -> "Way | None":
    from cli.mesh import named_mesh

    try:
        return named_mesh()
    except click.UsageError:
        return None


def _ask(way: "Way") -> "Versions":
    from cli.mesh import operator_bus, run
    from cli.running import versions

    async def ask() -> "Versions":
        async with operator_bus(way) as bus:
            return await versions(bus)

    return run(ask)


def _print_json(own: dict[str, str], found: "Versions | None") -> None:
    from cli.output import json

    more = {"services": found.services, "proxies": found.proxies} if found else {}
    print(json({**own, **more}))


def _print_table(found: "Versions") -> None:
    from cli.output import console, note, table

    rows = [(one.name, one.version, str(one.replicas)) for one in found.services]
    rows += [("proxy", one.version, str(one.count)) for one in found.proxies]
    console().print(table(("COMPONENT", "VERSION", "RUNNING"), rows))
    for trouble in found.trouble:
        note(trouble)
