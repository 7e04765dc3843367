"""Asks telemetry once, or again and again, and shows each answer."""

import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
from rich.live import Live
from rich.table import Table

from cli.mesh import named_mesh, operator_bus, run
from cli.output import console, json, note, note_covered
from common.bus import Bus
from common.contract.telemetry import EdgesReply, StatReply
from common.errors import BusUnavailable

R = TypeVar("R", StatReply, EdgesReply)
_EVERY_SECONDS = 2.0


def show(
    ask: Callable[[Bus], Awaitable[R]], render: Callable[[R], Table], *, as_json: bool, watch: bool
) -> None:
    """Ask and show; with `watch` until interrupted, and then an unanswered question does not end it.

    Raises what operator_bus and `ask` raise.
    """
    mesh = named_mesh()

    async def once() -> None:
        async with operator_bus(mesh) as bus:
            reply = await ask(bus)
        if as_json:
            print(json(reply))
        elif reply.rows:
            console().print(render(reply))
        else:
            note("nothing was reported in this window")
        note_covered(reply.window, reply.covered)

    async def for_ever() -> None:
        async with operator_bus(mesh) as bus:
            with Live(console=console(), auto_refresh=False, transient=False) as live:
                while True:
                    reply = await _patiently(ask, bus)
                    if reply and as_json:
                        print(json(reply, one_line=True), flush=True)
                    elif reply and sys.stdout.isatty():
                        live.update(render(reply), refresh=True)
                    elif reply:
                        console().print(render(reply))
                    await anyio.sleep(_EVERY_SECONDS)

    run(for_ever if watch else once)


async def _patiently(ask: Callable[[Bus], Awaitable[R]], bus: Bus) -> R | None:
    try:
        return await ask(bus)
    except BusUnavailable as error:
        note(str(error))
        return None
