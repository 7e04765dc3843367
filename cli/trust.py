"""`tulle trust`: whom the mesh trusts, and how another anchor takes the place of the one there is."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cli.options import Duration, mesh_option, output_option

if TYPE_CHECKING:
    from common.contract.identity import TrustChange

F = TypeVar("F", bound=Callable[..., Any])
_HOUR = 3600.0


def _behind_option() -> Callable[[F], F]:
    return click.option(
        "--leave-behind",
        "names",
        multiple=True,
        metavar="NAME",
        help="Do not wait for this one, such as shop/web-1: it recovers by itself when it returns.",
    )


def _distrust_option() -> Callable[[F], F]:
    return click.option(
        "--distrust",
        is_flag=True,
        help="The old anchor's key may be known to others: it vouches for nothing, so who is away"
        " meanwhile has to join anew.",
    )


@click.group()
@mesh_option()
def trust() -> None:
    """Replace the trust anchor while everything runs.

    \b
    add      a new anchor is trusted beside the old one
    switch   leaves, and the certificate of NATS, are signed below the new one, and renewed
    remove   the old one is trusted no more
    finish   the old one's key is deleted
    back     the last of these steps is taken back
    rotate   all of them, each as soon as everybody has acknowledged the one before
    """


@trust.command()
@output_option("table", "json")
@mesh_option()
def status(form: str) -> None:
    """Show how far a rotation is, and who has not acknowledged."""
    from cli.trust_run import ask_status

    ask_status(as_json=form == "json")


@trust.command()
@_behind_option()
@_distrust_option()
@click.option(
    "--timeout",
    type=Duration(1.0, _HOUR),
    default="1m",
    show_default=True,
    metavar="DURATION",
    help="Stop watching, and explain, when it got no further for so long.",
)
@output_option("table", "json")
@mesh_option()
def rotate(names: tuple[str, ...], distrust: bool, timeout: float, form: str) -> int:
    """Take every step, or what is left of them, and watch.

    Goes on in the mesh whether it is watched or not. The exit status is 1 if it got no further: then it goes
    on as soon as whoever is waited for has acknowledged, or is left behind.
    """
    from cli.trust_run import rotate

    return rotate(_change("rotate", names, distrust), timeout, as_json=form == "json")


@trust.command()
@_distrust_option()
@output_option("table", "json")
@mesh_option()
def add(distrust: bool, form: str) -> None:
    """Trust a new anchor beside the old one."""
    _take("add", (), form, distrust=distrust)


@trust.command()
@_behind_option()
@output_option("table", "json")
@mesh_option()
def switch(names: tuple[str, ...], form: str) -> None:
    """Sign below the new anchor, once everybody trusts it."""
    _take("switch", names, form)


@trust.command()
@_behind_option()
@output_option("table", "json")
@mesh_option()
def remove(names: tuple[str, ...], form: str) -> None:
    """Trust the old anchor no more, once nobody shows a leaf below it."""
    _take("remove", names, form)


@trust.command()
@_behind_option()
@output_option("table", "json")
@mesh_option()
def finish(names: tuple[str, ...], form: str) -> None:
    """Delete the old anchor's key, once nobody trusts it; from here there is no way back."""
    _take("finish", names, form)


@trust.command()
@_behind_option()
@output_option("table", "json")
@mesh_option()
def back(names: tuple[str, ...], form: str) -> None:
    """Take the last step back; from the first one, as if nothing had been."""
    _take("back", names, form)


def _change(step: Any, names: tuple[str, ...], distrust: bool = False) -> "TrustChange":
    from common.contract.identity import TrustChange

    return TrustChange(step=step, leave_behind=names, distrust=distrust)


def _take(step: str, names: tuple[str, ...], form: str, *, distrust: bool = False) -> None:
    from cli.trust_run import take

    take(_change(step, names, distrust), as_json=form == "json")
