"""What several commands take, each spelled once."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cli import durations

if TYPE_CHECKING:
    from cli.ways import Way

F = TypeVar("F", bound=Callable[..., Any])
_MEANT = "tulle."
"""Under which names click remembers, for the whole line, which mesh is meant."""


class Duration(click.ParamType[float]):
    """`10s`, `5m`, `1h`, between `least` and `most` seconds."""

    name = "duration"

    def __init__(self, least: float, most: float) -> None:
        self._least = least
        self._most = most

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Seconds."""
        if isinstance(value, int | float):
            return float(value)
        try:
            seconds = durations.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not self._least <= seconds <= self._most:
            least, most = durations.spell(self._least), durations.spell(self._most)
            self.fail(f"{value!r}: expected between {least} and {most}", param, ctx)
        return seconds


def mesh_option(envvar: str | None = None) -> Callable[[F], F]:
    """`--mesh DIR`, `--context NAME`: which mesh; `named_way` returns it, wherever on the line it stood."""
    directory = _remembered(
        "--mesh",
        type=click.Path(path_type=Path),
        envvar=envvar,
        metavar="DIR",
        help="The mesh directory. [env: TULLE_MESH]",
    )
    context = _remembered(
        "--context",
        metavar="NAME",
        help="The mesh in the cluster of this context of the kubeconfig.",
    )
    return lambda command: directory(context(command))


def cluster_options(command: F) -> F:
    """What else there is to say of a mesh in a cluster, for all commands at once."""
    for option in (
        _remembered(
            "--bus",
            metavar="URL",
            help="Where NATS is, instead of through kubectl port-forward.",
        ),
        _remembered(
            "--mesh-namespace",
            metavar="NS",
            envvar="TULLE_NAMESPACE",
            help="Where the control plane is. [default: tulle; env: TULLE_NAMESPACE]",
        ),
        _remembered(
            "--kubeconfig",
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help="The kubeconfig. [default: as kubectl; env: KUBECONFIG]",
        ),
    ):
        command = option(command)
    return command


def _remembered(name: str, **more: Any) -> Callable[[F], F]:
    """An option whose value is remembered for `_meant`; one that is nearer to the end of the line wins."""

    def remember(ctx: click.Context, _param: click.Parameter, value: Any) -> None:
        if value is not None and str(value):
            ctx.meta[_MEANT + name] = value

    return click.option(name, expose_value=False, callback=remember, **more)


def _meant(name: str) -> Any:
    return click.get_current_context().meta.get(_MEANT + name)


def named_way() -> "Way":
    """How to reach the mesh that was named: by its directory, or in a cluster, as kubectl would mean it.

    Raises UsageError if none was, InvalidSettings if it cannot be.
    """
    from cli.cluster import NAMESPACE, here
    from cli.ways import Way
    from common.config import environment
    from services.identity.directory import MeshDirectory

    directory, context, kubeconfig = map(_meant, ("--mesh", "--context", "--kubeconfig"))
    servers = tuple((_meant("--bus") or "").split(",")) if _meant("--bus") else ()
    cluster = None
    if directory is None or context or kubeconfig:
        namespace = _meant("--mesh-namespace") or NAMESPACE
        cluster = here(environment(), kubeconfig, context or "", namespace)
    if directory is None and cluster is None:
        raise click.UsageError(
            "which mesh? expected --mesh DIR or TULLE_MESH=DIR, or a kubeconfig with a cluster"
        )
    return Way(MeshDirectory(directory) if directory else None, cluster, servers)


def output_option(*forms: str) -> Callable[[F], F]:
    """`-o`: the first of `forms` unless told otherwise."""
    return click.option(
        "-o",
        "--output",
        "form",
        type=click.Choice(forms),
        default=forms[0],
        show_default=True,
        help="How to show it.",
    )


def window_option() -> Callable[[F], F]:
    """`-t`: how far to look back, in seconds."""
    return click.option(
        "-t",
        "--window",
        type=Duration(1.0, 3600.0),
        default="1m",
        show_default=True,
        metavar="DURATION",
        help="How far to look back: 10s, 5m, up to 1h.",
    )


def namespace_options(command: F) -> F:
    """`-n` and `-A`: one namespace, or all, which is what happens without either."""
    command = click.option(
        "-n", "--namespace", metavar="NS", default="", help="This namespace only."
    )(command)
    return click.option(
        "-A", "--all-namespaces", "everywhere", is_flag=True, help="All namespaces (the default)."
    )(command)


def one_namespace(namespace: str, everywhere: bool) -> str:
    """The namespace to look at; empty for all. Raises UsageError if it is no name or both were given."""
    from common.errors import InvalidName
    from common.names import check_label

    if namespace and everywhere:
        raise click.UsageError("-n and -A exclude each other; expected one of them")
    try:
        return check_label(namespace, "namespace") if namespace else ""
    except InvalidName as error:
        raise click.UsageError(str(error)) from None
