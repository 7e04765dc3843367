"""`tulle bus user` and `tulle bus users`: who may use the bus by name."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.options import Duration, mesh_option, output_option

if TYPE_CHECKING:
    from services.identity.permissions import PersonRole

_YEARS = 3660 * 86_400.0
COLUMNS = ("NAME", "ROLE", "EXPIRES", "KEY")


@click.command()
@click.argument("name")
@click.option(
    "--role", type=click.Choice(["reader", "operator"]), help="What they may do.  [default: reader]"
)
@click.option(
    "--expires",
    type=Duration(1.0, _YEARS),
    metavar="DURATION",
    help="For how long, such as 8h or 90d; if not given, until removed.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where to lay what they need.  [default: ./NAME-bus]",
)
@click.option("--remove", is_flag=True, help="They may no longer; their connections end.")
@mesh_option()
def user(
    name: str, role: str | None, expires: float | None, out: Path | None, remove: bool
) -> None:
    """Let NAME use the bus, and lay what they need for it into a folder.

    A reader hears everything but requests for certificates and asks for figures. An operator also taps
    workloads, drives rotations, and purges or deletes streams. Neither can speak for the mesh: see
    docs/permissions.md. The folder holds a key of their own, which is a secret and is kept nowhere else.

    \b
    Examples:
      tulle bus user ada --role reader --expires 90d
      tulle bus user ada --remove                 at once, without a restart
    """
    from cli.borrowed import BUS, PEOPLE, borrowed
    from common.clock import SystemClock
    from common.errors import InvalidName
    from services.identity import credentials

    if remove and (role or expires or out):
        raise click.UsageError("--remove goes with a name and nothing else")
    clock, folder = SystemClock(), out or Path(f"{name}-bus")
    ends = None if expires is None else clock.now() + expires
    chosen: PersonRole = "operator" if role == "operator" else "reader"
    try:
        with borrowed(BUS, PEOPLE) as mesh:
            if remove:
                credentials.remove(mesh, name)
            else:
                credentials.forget_expired(mesh, clock)
                credentials.add(mesh, name, chosen, folder, ends)
    except InvalidName as error:
        raise click.UsageError(str(error)) from None
    if remove:
        print(f"{name} may no longer use the bus")
        return
    print(f"{name} may use the bus as {chosen}{_until(ends)}, with what is in {folder}:\n")
    print(_commands(folder, name))


@click.command()
@output_option("table", "json")
@mesh_option()
def users(form: str) -> None:
    """Show who may use the bus by name."""
    import msgspec

    from cli.borrowed import PEOPLE, borrowed
    from cli.output import console, json, table
    from services.identity import people

    with borrowed(PEOPLE) as mesh:
        known = sorted(people.read(mesh.people_file), key=lambda person: person.name)
    if form == "json":
        print(json([msgspec.to_builtins(person) for person in known]))
        return
    rows = [(one.name, one.role, _moment(one.expires), one.key) for one in known]
    console().print(table(COLUMNS, rows))


def _commands(folder: Path, name: str) -> str:
    import shlex

    from services.identity.credentials import nats_options

    nats = shlex.join(["nats", *nats_options(folder, name), "sub", "tulle.v1.>"])
    ours = shlex.join(["tulle", "--mesh", str(folder), "bus", "sub", "tulle.v1.>"])
    return f"  {ours}\n  {nats}"


def _until(ends: float | None) -> str:
    return "" if ends is None else f" until {_moment(ends)}"


def _moment(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
