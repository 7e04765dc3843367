"""What one replica does for all: nothing, unless it holds the lease."""

import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import anyio

from common.backoff import Backoff
from common.bus import Bus
from common.bus.streams import ensure
from common.clock import Clock
from common.errors import BusUnavailable
from common.lease import Lease
from common.log import fields

log = logging.getLogger(__name__)


class Leader:
    """Runs all duties, which never return, for as long as the lease is held; over and over."""

    def __init__(
        self,
        bus: Bus,
        lease: Lease,
        duties: Sequence[Callable[[], Coroutine[Any, Any, None]]],
        clock: Clock,
    ) -> None:
        self._bus = bus
        self._lease = lease
        self._duties = duties
        self._backoff = Backoff(clock)

    async def run(self) -> None:
        """Contend for the lease, and lead while it is held; for ever."""
        await self._prepare()
        await self._lease.run(self._lead)

    async def _prepare(self) -> None:
        """See to the streams, in one of which the lease is."""
        while True:
            await self._bus.wait_connected()
            try:
                await ensure(self._bus)
            except BusUnavailable as error:
                log.warning("the bus is not prepared", extra=fields(error=str(error)))
                await anyio.sleep(self._backoff.next())
            else:
                return

    async def _lead(self) -> None:
        async with anyio.create_task_group() as group:
            for duty in self._duties:
                group.start_soon(duty)
