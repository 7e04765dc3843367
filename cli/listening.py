"""Hears a subject until enough was heard, time is up, or the bus will not have it."""

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass

import anyio

from cli.mesh import operator_bus
from cli.ways import Way
from common.clock import SystemClock
from common.errors import BusUnavailable, Refused

Show = Callable[[str, float, bytes], None]
"""Told of each message: its subject, when it was heard, its payload."""


@dataclass(frozen=True)
class Wanted:
    """What to hear: at most `count` messages, for `timeout` seconds at most."""

    subject: str
    count: int | None = None
    timeout: float | None = None


async def listen(mesh: Way, wanted: Wanted, show: Show) -> None:
    """Show what is heard.

    Raises BusUnavailable if time is up before `count` messages, Refused if the operator may not hear the
    subject, and what operator_bus raises.
    """
    heard, refused = 0, ""
    scope = anyio.CancelScope()

    def on_trouble(text: str) -> None:
        nonlocal refused
        if "permissions violation" in text.lower():
            refused = text
            scope.cancel()

    async with operator_bus(mesh, on_trouble) as bus:
        with scope, anyio.move_on_after(wanted.timeout):
            async with aclosing(bus.sniff(wanted.subject)) as sightings:
                async for subject, payload, _ in sightings:
                    show(subject, SystemClock.now(), payload)
                    heard += 1
                    if heard == wanted.count:
                        break
    if refused:
        raise Refused(f"{wanted.subject}: not for the operator to hear ({refused})")
    if wanted.count and heard < wanted.count:
        raise BusUnavailable(
            f"{wanted.subject}: {heard} of {wanted.count} messages within {wanted.timeout:g} s"
        )
