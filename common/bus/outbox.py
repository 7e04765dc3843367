"""Messages that must not be lost because the bus is away."""

from collections import deque
from typing import Any

import anyio
import msgspec

from common.bus.client import Bus, M
from common.contract.topic import Topic

_AGAIN_SECONDS = 0.1


class Outbox:
    """Publishes one message after the other; while the bus is away they wait, the newest `limit` of them."""

    def __init__(self, bus: Bus, limit: int) -> None:
        self._bus = bus
        self._waiting: deque[tuple[Topic[Any], msgspec.Struct]] = deque(maxlen=limit)
        self._wake = anyio.Event()

    def put(self, topic: Topic[M], message: M) -> None:
        """Have it published as soon as may be; the oldest that waits gives way if there are too many."""
        self._waiting.append((topic, message))
        self._wake.set()

    async def run(self) -> None:
        """Publish for ever what was put in."""
        while True:
            await self._wake.wait()
            self._wake = anyio.Event()
            while self._waiting:
                await self._bus.wait_connected()
                first = self._waiting[0]
                if not await self._bus.publish(*first):
                    await anyio.sleep(_AGAIN_SECONDS)
                elif self._waiting and self._waiting[0] is first:
                    self._waiting.popleft()
