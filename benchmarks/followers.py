"""Followers of endpoints in processes of their own: `python -m benchmarks.followers WAY URL FIRST END SPREAD`.

Each process plays the followers from FIRST up to END; follower `n` follows service `n % SPREAD`. It says `[]`
once all of them know what they follow, and from then on when they have heard something: the times, in seconds
on the machine's monotonic clock, in lists of JSON.

A `tulle` follower is the proxy's own, with a connection of its own: it decodes and applies what it hears.
A `bare` one is a socket that has asked for a subject, and costs next to nothing: what it hears later than the
others is due to NATS and to what comes before it.
"""

import asyncio
import gc
import math
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import anyio
import msgspec
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from benchmarks.accounting import cpu_seconds
from common import log
from common.bus import Bus
from common.clock import SystemClock
from common.contract import subjects
from common.contract.discovery import EndpointSlice
from common.contract.topic import State
from common.names import ServiceName

Way = Literal["tulle", "bare"]
_LINE_LIMIT = 16 * 1024 * 1024
_LOOK_SECONDS = 0.02
_CONNECT = b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true}\r\n'


def followed(number: int) -> State[EndpointSlice]:
    """The endpoints of the service of this number."""
    return subjects.endpoints(ServiceName("shop", f"web-{number}"), f"web-{number}-x")


class Crowd:
    """So many followers in as many processes as there are processors; each of one of `spread` services."""

    def __init__(self, way: Way, url: str, followers: int, spread: int) -> None:
        self._followers = followers
        self._spread = spread
        count = max(1, min(len(os.sched_getaffinity(0)) if way == "tulle" else 1, followers))
        bounds = [followers * n // count for n in range(count + 1)]
        command = [sys.executable, "-m", "benchmarks.followers", way, url]
        self._commands = [
            [*command, str(first), str(end), str(spread)] for first, end in pairwise(bounds)
        ]
        self._processes: list[Process] = []
        self._hear, self._heard = anyio.create_memory_object_stream[list[float]](math.inf)

    @asynccontextmanager
    async def gathered(self) -> AsyncIterator[None]:
        """All of them know what they follow, for as long as the context lasts."""
        async with AsyncExitStack() as stack, anyio.create_task_group() as group:
            for command in self._commands:
                process = await stack.enter_async_context(
                    await anyio.open_process(command, stderr=None)
                )
                stack.callback(process.kill)
                self._processes.append(process)
            for process in self._processes:
                assert process.stdout is not None
                lines = BufferedByteReceiveStream(process.stdout)
                await lines.receive_until(b"\n", _LINE_LIMIT)
                group.start_soon(self._read, lines)
            yield
            group.cancel_scope.cancel()
        self._hear.close()
        self._heard.close()

    async def _read(self, lines: BufferedByteReceiveStream) -> None:
        while True:
            line = await lines.receive_until(b"\n", _LINE_LIMIT)
            await self._hear.send(msgspec.json.decode(line, type=list[float]))

    async def heard(self, number: int) -> list[float]:
        """When each of those who follow this service has heard of a change; waits for all of them."""
        expected = len(range(number, self._followers, self._spread))
        found = list[float]()
        while len(found) < expected:
            found += await self._heard.receive()
        return found

    def cpu_seconds(self) -> float:
        """Processor time of all of them so far."""
        return sum(cpu_seconds(process.pid) for process in self._processes)


async def play(way: Way, url: str, first: int, end: int, spread: int) -> None:
    """Follow, and tell when something was heard, until killed."""
    clock, times = SystemClock(), list[float]()
    numbers = [number % spread for number in range(first, end)]
    async with AsyncExitStack() as stack:
        begin = _follow if way == "tulle" else _listen
        await begin(url, numbers, lambda: times.append(clock.monotonic()), stack)
        times.clear()
        # As a proxy does after its start.
        gc.collect()
        gc.freeze()
        _say([])
        told = 0
        while True:
            await anyio.sleep(_LOOK_SECONDS)
            # Only when all is quiet again: telling takes time.
            if times and len(times) == told:
                _say(times)
                times.clear()
            told = len(times)


async def _follow(
    url: str, numbers: list[int], hear: Callable[[], None], stack: AsyncExitStack
) -> None:
    followers = []
    for number in numbers:
        bus = await stack.enter_async_context(Bus([url], name=f"follower-{number}"))
        followers.append(bus.follow(followed(number), lambda *_: hear()))
    for follower in followers:
        await follower.wait_known()


async def _listen(
    url: str, numbers: list[int], hear: Callable[[], None], stack: AsyncExitStack
) -> None:
    host, _, port = url.removeprefix("nats://").rpartition(":")
    loop = asyncio.get_running_loop()
    for number in numbers:
        listener = _Listener(followed(number).subject, hear)
        transport, _ = await loop.create_connection(partial(_itself, listener), host, int(port))
        stack.callback(transport.abort)
        await listener.ready.wait()


class _Listener(asyncio.Protocol):
    """A socket that hears one subject."""

    def __init__(self, subject: str, hear: Callable[[], None]) -> None:
        self.ready = anyio.Event()
        self._subject = subject
        self._hear = hear

    def connection_made(self, transport: Any) -> None:
        """Ask for the subject."""
        self._transport = transport
        transport.write(_CONNECT + f"SUB {self._subject} 1\r\nPING\r\n".encode())

    def data_received(self, data: bytes) -> None:
        """What is heard may come together with a question whether we are still there."""
        if b"HMSG " in data:
            self._hear()
        if b"PING\r\n" in data:
            self._transport.write(b"PONG\r\n")
        if b"PONG\r\n" in data:
            self.ready.set()


def _itself(listener: _Listener) -> _Listener:
    return listener


def _say(times: list[float]) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(times) + b"\n")
    sys.stdout.flush()


def main() -> None:
    """Play what the command line says."""
    log.setup("error", "plain")
    way, server, *places = sys.argv[1:]
    first, end, spread = map(int, places)
    playing = partial(play, msgspec.convert(way, Way), server, first, end, spread)
    anyio.run(playing, backend_options={"use_uvloop": True})


if __name__ == "__main__":
    main()
