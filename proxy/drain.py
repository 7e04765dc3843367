"""How a proxy leaves without anybody losing a request.

    draining    is said on the bus: destination withdraws the endpoint, and clients go elsewhere
    serve on    take what still comes, until nobody new has come for a while
    inbound     no new connections; clients are told to go; what is on its way is finished
    outbound    the same, later: what the application finishes may need it
    cut off     what is still open when the time is over

Every wait is a part of the grace period, so that a short one is kept as well.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import anyio

from common.log import fields
from proxy.inbound.arrivals import Inbound
from proxy.outbound.arrivals import Outbound
from proxy.refusals import ShutDown
from proxy.transport.sweep import Sweep

log = logging.getLogger(__name__)

LEAVE_SECONDS = 1.0
"""Clients have left when no new one has come for so long; less if the grace period is short."""
SERVE_SHARE, INBOUND_SHARE = 0.5, 0.8
"""Parts of the grace period in which new connections are taken, and in which the inbound side must empty."""
CUT_OFF_SECONDS = 0.5
"""For what was cut off to be told so, and counted."""
SWEEP_SECONDS = 0.05
"""Deadlines are looked at more often: none of those who wait now should wait for the next look."""


async def drain(
    grace: float,
    announce: Callable[[], Coroutine[Any, Any, None]],
    sweep: Sweep,
    inbound: Inbound,
    outbound: Outbound,
) -> None:
    """Leave within `grace` seconds; `announce` says on the bus that we do, and may wait for the bus."""
    log.info("draining", extra=fields(inbound=inbound.open, outbound=outbound.open))
    sweep.period = SWEEP_SECONDS
    async with anyio.create_task_group() as group:
        group.start_soon(announce)
        with anyio.move_on_after(grace):
            await _serve_on(grace, inbound)
            with anyio.move_on_after(grace * (INBOUND_SHARE - SERVE_SHARE)):
                await inbound.drain()
                await inbound.empty()
            await outbound.drain()
            await inbound.empty()
            await outbound.empty()
        group.cancel_scope.cancel()
    await _cut_off(inbound, outbound)


async def _serve_on(grace: float, inbound: Inbound) -> None:
    """Serve as ever, until nobody new has come for a while."""
    loop = asyncio.get_running_loop()
    quiet = left = min(LEAVE_SECONDS, grace * SERVE_SHARE / 2)
    with anyio.move_on_after(grace * SERVE_SHARE):
        while left > 0:
            await anyio.sleep(left)
            left = inbound.arrived_at + quiet - loop.time()


async def _cut_off(inbound: Inbound, outbound: Outbound) -> None:
    """The time is over: end what is open, in such a way that it is counted."""
    if inbound.open or outbound.open:
        log.warning(
            "grace period is over", extra=fields(inbound=inbound.open, outbound=outbound.open)
        )
    with anyio.move_on_after(CUT_OFF_SECONDS):
        for side in (inbound, outbound):
            await side.drain()
            side.cut_off(ShutDown("the grace period is over"))
        await inbound.empty()
        await outbound.empty()
    for side in (inbound, outbound):
        side.carrier.retire_all()
    await asyncio.sleep(0)
