"""Checks, groups of them, what was found, and how they are gone through.

A check is an async function of a Context. It returns what it saw (perhaps nothing worth a word), raises
Doubtful for what works now and will not for ever, and any MeshError for what is wrong. What it looks at is
its docstring, which docs/checks.md shows.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sized
from dataclasses import dataclass
from typing import Literal

import anyio
import msgspec

from cli.checks.context import Context
from common.errors import MeshError

Result = Literal["ok", "warning", "failure"]
PAGE = "docs/checks.md"
_AGAIN_SECONDS = 1.0


class Doubtful(Exception):
    """It works, and something should be done all the same."""


class Wrong(MeshError):
    """Something that a check looked at is not as it must be."""

    reason = "check-failed"


@dataclass(frozen=True)
class Check:
    """One question, asked as the sentence that is true if all is well."""

    name: str
    look: Callable[[Context], Awaitable[str]]
    hint: str
    """What to do if it is not."""
    anchor: str = ""
    """Where in PAGE there is more about it."""
    vital: bool = False
    """If this fails, nothing that comes after it can be looked at."""


@dataclass(frozen=True)
class Group:
    """Checks that belong together."""

    name: str
    checks: tuple[Check, ...]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found."""

    group: str
    check: str
    result: Result
    message: str = ""
    hint: str = ""
    more: str = ""
    """Where to read more, if it is not well."""


async def findings(
    groups: Iterable[Group], context: Context, *, patience: float = 0.0
) -> AsyncIterator[Finding]:
    """Look at everything, in order; nothing more after a vital check has failed.

    What fails is looked at again until it does not, or `patience` seconds are over since the beginning.
    """
    clock = context.clock
    until = clock.monotonic() + patience
    for group in groups:
        for check in group.checks:
            found = await _look(group, check, context)
            while found.result == "failure" and clock.monotonic() < until:
                await anyio.sleep(_AGAIN_SECONDS)
                context.forget()
                found = await _look(group, check, context)
            yield found
            if check.vital and found.result == "failure":
                return


async def _look(group: Group, check: Check, context: Context) -> Finding:
    result: Result = "ok"
    try:
        message = await check.look(context)
    except Doubtful as doubt:
        result, message = "warning", str(doubt)
    except (MeshError, OSError) as error:
        result, message = "failure", str(error)
    well = result == "ok"
    return Finding(
        group=group.name,
        check=check.name,
        result=result,
        message=message,
        hint="" if well else check.hint,
        more=f"{PAGE}#{check.anchor}" if check.anchor and not well else "",
    )


def count(things: Sized, what: str) -> str:
    """`1 node`, `2 nodes`."""
    return f"{len(things)} {what}{'' if len(things) == 1 else 's'}"


def named(words: Iterable[str], most: int = 3) -> str:
    """The first of them, and how many more there are."""
    found = list(words)
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more
