"""`tulle bus`: what is said on the bus, as it is said; who may use it by name; and its keys."""

import re
import sys
from datetime import UTC, datetime

import click

from cli.bus_keys import keys, rotate
from cli.options import Duration, mesh_option, output_option
from cli.people import user, users

# NATS: tokens between dots, `*` for one, `>` for all that follow.
_SUBJECT = re.compile(r"(?:(?:\*|[^\s.*>]+)\.)*(?:\*|>|[^\s.*>]+)")
_DAY = 86_400.0


@click.group()
@mesh_option()
def bus() -> None:
    """Listen to what the mesh says, say who else may, replace keys. docs/subjects.md lists every subject."""


bus.add_command(user)
bus.add_command(users)
bus.add_command(keys)
bus.add_command(rotate)


@bus.command()
@click.argument("subject")
@output_option("table", "json")
@click.option("--count", type=click.IntRange(min=1), help="Stop after so many messages.")
@click.option(
    "--timeout",
    type=Duration(0.001, _DAY),
    metavar="DURATION",
    help="Stop after so long, such as 10s; with --count it is a failure if too few came.",
)
@mesh_option()
def sub(subject: str, form: str, count: int | None, timeout: float | None) -> None:
    """Print every message on SUBJECT as it is said, with time and subject, until Ctrl-C.

    In SUBJECT, * stands for one word and > for all that follow; quote them. With -o json there is one
    object a line: {"subject": …, "time": …, "message": …}; a message that is not JSON is given as text.

    \b
    Examples:
      tulle bus sub 'tulle.v1.>'                  everything
      tulle bus sub 'tulle.v1.events.>'           what happened
      tulle bus sub 'tulle.v1.metrics.*.*' --count 1 -o json
    """
    if not _SUBJECT.fullmatch(subject):
        raise click.UsageError(f"{subject!r} is no subject; expected words and dots: 'tulle.v1.>'")
    from cli.listening import Wanted, listen
    from cli.mesh import named_mesh, run

    wanted = Wanted(subject, count, timeout)
    show = _print_json if form == "json" else _print_pretty
    mesh = named_mesh()
    run(lambda: listen(mesh, wanted, show))


def _print_json(subject: str, moment: float, payload: bytes) -> None:
    from cli.output import json

    time = datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
    document = {
        "subject": subject,
        "time": time.replace("+00:00", "Z"),
        "message": _message(payload),
    }
    print(json(document, one_line=True), flush=True)


def _print_pretty(subject: str, moment: float, payload: bytes) -> None:
    from cli.output import json, printable

    clock = datetime.fromtimestamp(moment).strftime("%H:%M:%S.%f")[:-3]
    message = _message(payload)
    text = message if isinstance(message, str) else json(message)
    lines = "\n".join(map(printable, text.split("\n")))
    click.echo(
        f"{click.style(clock, dim=True)} {click.style(printable(subject), fg='cyan', bold=True)}"
    )
    click.echo(_coloured(lines) if sys.stdout.isatty() else lines)
    sys.stdout.flush()


def _message(payload: bytes) -> object:
    """The JSON document, or the payload as text where it is none."""
    import msgspec

    try:
        return msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return payload.decode(errors="replace")


_KEY = re.compile(r'^( *)("(?:[^"\\]|\\.)*")(?=: )', re.M)


def _coloured(text: str) -> str:
    """The keys of indented JSON in colour; values speak for themselves."""
    return _KEY.sub(lambda match: match[1] + click.style(match[2], fg="green"), text)
