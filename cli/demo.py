"""`tulle demo`: a whole mesh on this machine, for the built-in application or one's own."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from demo.layout import Mode


@click.command()
@click.option(
    "--seconds", type=click.FloatRange(min=1, max=3000), help="End by itself after so long."
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document at the end, no table."
)
@click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Your own application: a YAML file of workloads, like the built-in demo/application.yaml.",
)
@click.option(
    "--protocols",
    is_flag=True,
    help="The built-in application with a gRPC and a plain TCP edge more.",
)
@click.option(
    "--explicit", is_flag=True, help="Use http_proxy instead of intercepting connections."
)
@click.option("--rotate", is_flag=True, help="Replace the mesh's trust anchor in the middle of it.")
@click.option(
    "--logs",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the log of every program in this folder.",
)
def demo(
    seconds: float | None,
    as_json: bool,
    file: Path | None,
    protocols: bool,
    explicit: bool,
    rotate: bool,
    logs: Path | None,
) -> int:
    """Run a small application in a mesh of its own and show who talks to whom.

    Needs neither root nor Docker, and leaves nothing behind. Where connections cannot be intercepted, the
    application is told to use its proxies with http_proxy. Ends with Ctrl-C, or after --seconds; with --json
    the exit status is 0 only if traffic flowed and all of it between meshed programs was mutual TLS.
    """
    from cli.demo_run import Options, run
    from demo.plan import BUILT_IN, PROTOCOLS, InvalidApplication, read

    if as_json and seconds is None:
        raise click.UsageError("--json: expected --seconds with it")
    if protocols:
        _need_grpc(file)
    try:
        application = read(file or (PROTOCOLS if protocols else BUILT_IN))
    except InvalidApplication as error:
        # The command line's own way to tell errors puts them on one line.
        click.echo(f"tulle demo: not an application:\n{error}", err=True)
        return 2
    mode = _mode(explicit)
    if protocols and mode == "explicit":
        click.echo(
            "gRPC goes through its proxy in a tunnel (CONNECT): it is shown as tcp", err=True
        )
    return run(
        Options(
            application=application,
            mode=mode,
            seconds=seconds,
            as_json=as_json,
            rotate=rotate,
            logs=logs,
        )
    )


def _need_grpc(file: Path | None) -> None:
    """Raises UsageError where --protocols is in vain."""
    if file is not None:
        raise click.UsageError("--protocols: it is an application of its own, and so is --file")
    if find_spec("grpc") is None:
        raise click.UsageError(
            f"--protocols: its programs need grpcio: {sys.executable} -m pip install grpcio"
        )


def _mode(explicit: bool) -> "Mode":
    """How connections come to the proxies; if not as one would like best, says why."""
    from common.config import environment
    from demo import abilities

    if explicit:
        return "explicit"
    path = abilities.search_path(environment().get("PATH", ""))
    if hindrance := abilities.hindrance(path):
        click.echo(f"explicit mode, through http_proxy: {hindrance}", err=True)
        return "explicit"
    return "transparent"
