"""`tulle bus keys` and `tulle bus rotate`: how old the bus's own keys are, and others in their place."""

from typing import TYPE_CHECKING, Any

import click

from cli.options import Duration, mesh_option, output_option

if TYPE_CHECKING:
    from common.contract.identity import KeysChange

_HOUR = 3600.0
_KINDS = ("services", "tokens", "account", "callout")


@click.command()
@output_option("table", "json")
@mesh_option()
def keys(form: str) -> None:
    """Show how old the keys of the bus are, and how far a rotation of them is."""
    from cli.bus_keys_run import ask_status

    ask_status(as_json=form == "json")


@click.command()
@click.argument("what", nargs=-1, type=click.Choice(_KINDS))
@click.option("--back", is_flag=True, help="Put the old keys in the place of the new ones again.")
@click.option(
    "--leave-behind",
    "names",
    multiple=True,
    metavar="NAME",
    help="Do not wait for this service, or node of NATS, which then needs its new file by other means.",
)
@click.option(
    "--distrust",
    is_flag=True,
    help="The old keys may be known to others: join tokens of before are worthless.",
)
@click.option(
    "--timeout",
    type=Duration(1.0, _HOUR),
    default="2m",
    show_default=True,
    metavar="DURATION",
    help="Stop watching, and explain, when it got no further for so long.",
)
@output_option("table", "json")
@mesh_option()
def rotate(
    what: tuple[str, ...],
    back: bool,
    names: tuple[str, ...],
    distrust: bool,
    timeout: float,
    form: str,
) -> int:
    """Replace keys of the bus while everything runs, or go on with that, and watch.

    \b
    services   with which services, the mesh's operator, and identity in NATS's own account sign in
    tokens     with which join tokens are signed
    account    with which identity signs who is admitted
    callout    for which NATS seals what it asks identity

    If WHAT is not given it is services and tokens. Account and callout keys NATS takes at its start only:
    the rotation waits until each server was restarted, one after the other. Goes on in the mesh whether it
    is watched or not. The exit status is 1 if it got no further.
    """
    from cli.bus_keys_run import rotate

    return rotate(_change(what, back, names, distrust), timeout, as_json=form == "json")


def _change(what: Any, back: bool, names: tuple[str, ...], distrust: bool) -> "KeysChange":
    from common.contract.identity import KeysChange

    return KeysChange(what=what, back=back, leave_behind=names, distrust=distrust)
