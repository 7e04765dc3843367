"""What one replica does for all: nothing, unless it holds the lease."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import anyio

from common.bus import Bus
from common.clock import Clock
from common.lease import Lease
from services.identity import streams


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
        self._clock = clock

    async def run(self) -> None:
        """Contend for the lease, and lead while it is held; for ever."""
        # In one of them the lease is.
        await streams.made(self._bus, self._clock)
        await self._lease.run(self._lead)

    async def _lead(self) -> None:
        async with anyio.create_task_group() as group:
            for duty in self._duties:
                group.start_soon(duty)
