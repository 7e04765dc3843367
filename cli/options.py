"""What several commands take, each spelled once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from cli import durations

F = TypeVar("F", bound=Callable[..., Any])
_MESH = "tulle.mesh"


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
    """`--mesh DIR`: which mesh; `mesh_directory` returns it, wherever on the line it stood."""

    def remember(ctx: click.Context, _param: click.Parameter, value: Path | None) -> None:
        if value is not None:
            ctx.meta[_MESH] = value

    return click.option(
        "--mesh",
        type=click.Path(path_type=Path),
        envvar=envvar,
        expose_value=False,
        callback=remember,
        metavar="DIR",
        help="The mesh directory. [env: TULLE_MESH]",
    )


def mesh_directory() -> Path:
    """The mesh directory that was named; raises UsageError if none was."""
    directory = click.get_current_context().meta.get(_MESH)
    if not isinstance(directory, Path):
        raise click.UsageError("which mesh? expected --mesh DIR or TULLE_MESH=DIR")
    return directory


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
