"""Sees to the streams of the mesh, for as long as identity runs: nobody else may make or change one."""

import logging

import anyio

from common.backoff import Backoff
from common.bus import Bus
from common.bus.streams import ensure
from common.clock import Clock
from common.errors import BusUnavailable
from common.log import fields

log = logging.getLogger(__name__)

AGAIN_SECONDS = 30.0


async def keep(bus: Bus, clock: Clock, again: float = AGAIN_SECONDS) -> None:
    """Make sure of the streams, at once and every `again` seconds, for ever: a stream can be lost."""
    while True:
        await made(bus, clock)
        await anyio.sleep(again)


async def made(bus: Bus, clock: Clock) -> None:
    """Make sure of the streams; waits until that could be done."""
    backoff = Backoff(clock)
    while True:
        await bus.wait_connected()
        try:
            await ensure(bus)
        except BusUnavailable as error:
            log.warning("the streams are not seen to", extra=fields(error=str(error)))
            await anyio.sleep(backoff.next())
        else:
            return
