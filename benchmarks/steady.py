"""`python -m benchmarks.steady HOST PORT RATE SECONDS`: requests at a fixed mean rate, and how long each takes.

An open loop: the next request goes out when its time has come, on an idle connection or else on a new one,
so a proxy that stalls is seen to stall by all who would have come meanwhile. wrk has no rate; h2load has one
per connection, for which all connections fire at once. Gaps are exponential, the same for every contender.
"""

import asyncio
import gc
import random
import re
import sys
import time
from typing import cast

import msgspec
import uvloop

from benchmarks.loads import Done

_CONNECTIONS = 20
"""Opened before the clock starts; more are opened when all are busy."""
_LAST_WAITS = 500
_SEED = 500
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.I)


class Sender:
    """Sends, and remembers how long answers took.

    Times are not the loop's, which counts in milliseconds.
    """

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._idle: list[Connection] = []
        self.request = f"GET / HTTP/1.1\r\nhost: {host}:{port}\r\n\r\n".encode()
        self.loop = asyncio.get_running_loop()
        self.took: list[float] = []
        self.failed = 0
        self.busy = 0

    async def open(self) -> "Connection":
        """A new connection; raises OSError."""
        _, made = await self.loop.create_connection(lambda: Connection(self), *self._address)
        return made

    async def run(self, rate: float, seconds: float) -> None:
        """Send for so long, then wait for what is still to come."""
        self._idle = [await self.open() for _ in range(_CONNECTIONS)]
        chance = random.Random(_SEED)
        async with asyncio.TaskGroup() as group:
            began = due = time.perf_counter()
            while due < began + seconds:
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                if self._idle:
                    self._idle.pop().send(time.perf_counter())
                else:
                    group.create_task(self._send_anew(time.perf_counter()))
                due += chance.expovariate(rate)
        for _ in range(_LAST_WAITS):
            if self.busy:
                await asyncio.sleep(0.01)
        self.failed += self.busy

    async def _send_anew(self, began: float) -> None:
        try:
            (await self.open()).send(began)
        except OSError:
            self.failed += 1

    def answered(self, connection: "Connection", good: bool, took: float) -> None:
        """An answer is there in full."""
        self.busy -= 1
        self.took.append(took)
        self.failed += not good
        self._idle.append(connection)

    def lost(self, connection: "Connection", was_busy: bool) -> None:
        """A connection is gone."""
        self.busy -= was_busy
        self.failed += was_busy
        if connection in self._idle:
            self._idle.remove(connection)


class Connection(asyncio.Protocol):
    """A kept connection with one request at a time."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._began: float | None = None
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast(asyncio.Transport, transport)

    def send(self, began: float) -> None:
        """Send a request whose time came at `began`."""
        self._sender.busy += 1
        self._began = began
        self._answer = b""
        self._transport.write(self._sender.request)

    def data_received(self, data: bytes) -> None:
        """More of the answer."""
        self._answer += data
        head, found, body = self._answer.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not found or self._began is None or len(body) < int(length.group(1) if length else 0):
            return
        took = time.perf_counter() - self._began
        self._began = None
        self._sender.answered(self, head.startswith(b"HTTP/1.1 200"), took)

    def connection_lost(self, error: Exception | None) -> None:
        """It is gone."""
        was_busy = self._began is not None
        self._sender.lost(self, was_busy)


async def measure(host: str, port: int, rate: float, seconds: float) -> Done:
    """Send for so long; latencies in milliseconds, of answers that were whole."""
    sender = Sender(host, port)
    await sender.run(rate, seconds)
    took = sorted(sender.took)
    more = {f"p{part}_ms": _percentile(took, part) * 1000 for part in (50, 99)}
    count = len(took)
    return Done(count=count, failed=sender.failed, per_second=count / seconds, more=more)


def _percentile(values: list[float], part: int) -> float:
    """The smallest of sorted `values` that so many per cent do not exceed."""
    return values[max(0, -(-len(values) * part // 100) - 1)] if values else 0.0


if __name__ == "__main__":
    gc.disable()  # a pause here would look like one of the proxy
    host, port, rate, seconds = sys.argv[1:5]
    result = uvloop.run(measure(host, int(port), float(rate), float(seconds)))
    sys.stdout.buffer.write(msgspec.json.encode(result))
