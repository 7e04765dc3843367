"""A plain nats-server (no TLS, no accounts) and buses on it, for tests."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
import msgspec

from common.bus import Bus, Revision
from common.bus.streams import ensure
from common.contract.topic import State
from common.nats_server import NatsServer

M = TypeVar("M", bound=msgspec.Struct)


@asynccontextmanager
async def connected(server: NatsServer, name: str = "test") -> AsyncIterator[Bus]:
    """A bus that is connected to `server`."""
    async with Bus([server.url], name=name) as bus:
        with anyio.fail_after(10):
            await bus.wait_connected()
        yield bus


@asynccontextmanager
async def mesh() -> AsyncIterator[tuple[NatsServer, Bus]]:
    """A server with the mesh's streams, and a bus on it."""
    async with NatsServer() as server, connected(server) as bus:
        await ensure(bus)
        yield server, bus


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until `condition` holds; TimeoutError if it does not within `seconds`."""
    with anyio.fail_after(seconds):
        while True:
            if condition():
                return
            await anyio.sleep(0.005)


async def until_told(ask: Callable[[], Awaitable[object]], seconds: float = 10.0) -> None:
    """Ask until the answer is yes; TimeoutError if it is not within `seconds`."""
    with anyio.fail_after(seconds):
        while True:
            if await ask():
                return
            await anyio.sleep(0.05)


async def scan(bus: Bus, state: State[M]) -> dict[str, Revision[M]]:
    """All pages of a scan in one."""
    return {subject: found async for page in bus.scan(state) for subject, found in page.items()}
