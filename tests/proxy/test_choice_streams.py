"""What the outbound proxy does with opaque connections when endpoints are missing or dead."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from common.clock import SystemClock
from common.contract.discovery import Endpoint
from common.latest import Latest
from proxy.control.discovery import Backend
from proxy.control.held import Held
from proxy.decide.balance import Balancer
from proxy.observe.counters import Counters
from proxy.outbound.queue import QUEUE_LIMIT
from proxy.outbound.reach import Reach
from proxy.outbound.streams import Streams
from proxy.transport.accept import Arrival, Listener
from proxy.transport.connect import Connector
from tests.support.nats import until
from tests.support.outbound import dead_port

pytestmark = pytest.mark.anyio
CUT = (ConnectionResetError, asyncio.IncompleteReadError)


class Relay:
    """A listening proxy whose connections all go to one backend."""

    def __init__(self, group: anyio.abc.TaskGroup) -> None:
        self._group = group
        self.balancer = Balancer(SystemClock())
        self.backend = Backend("db.shop", 5432, "opaque", self.balancer)
        self.counters = Counters()
        self.open = 0
        connector = Connector(0, 1.0)
        reach = Reach(connector, Latest[Held | None](None), self.counters, SystemClock())
        self._streams = Streams(reach, connector)
        self.listener = Listener(
            "127.0.0.1", 0, limit=1000, arrived=self._arrived, refused=lambda: None
        )

    def endpoints(self, *ports: int) -> None:
        self.balancer.update(
            [(Endpoint(address="127.0.0.1", ports={}, uid=str(port)), port) for port in ports]
        )

    def _arrived(self, arrival: Arrival) -> None:
        self.open += 1

        def left() -> None:
            self.open -= 1
            arrival.left()

        self._group.start_soon(self._streams.to_backend, arrival.transport, b"", self.backend, left)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.listener.port)


@asynccontextmanager
async def relay() -> AsyncIterator[tuple[Relay, int]]:
    """The proxy, and the port of an endpoint that greets."""
    greeted: list[asyncio.StreamWriter] = []

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greeted.append(writer)
        writer.write(b"hello")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with anyio.create_task_group() as group:
        made = Relay(group)
        await made.listener.start()
        try:
            yield made, server.sockets[0].getsockname()[1]
            await until(lambda: not made.open, 5)
            assert not made.balancer._waiting
        finally:
            await made.listener.stop()
            server.close()
            for writer in greeted:
                writer.transport.abort()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()


async def test_a_connection_waits_for_an_endpoint() -> None:
    async with relay() as (proxy, port):
        proxy.endpoints()
        reader, writer = await proxy.connect()
        await until(lambda: proxy.open, 5)

        proxy.endpoints()
        proxy.endpoints(port)
        with anyio.fail_after(5):
            assert await reader.readexactly(5) == b"hello"
        writer.close()


async def test_a_connection_is_given_up_when_none_becomes_ready() -> None:
    async with relay() as (proxy, _):
        proxy.endpoints()
        began = time.monotonic()
        reader, writer = await proxy.connect()

        with anyio.fail_after(5), pytest.raises(CUT):
            await reader.readexactly(1)

        assert 2.9 < time.monotonic() - began < 4.0
        writer.close()
        (series,) = proxy.counters.all()
        assert series.errors == {"no-endpoints": 1}


async def test_only_so_many_wait() -> None:
    async with relay() as (proxy, port):
        proxy.endpoints()
        talks = [await proxy.connect() for _ in range(QUEUE_LIMIT)]
        await until(lambda: proxy.open == QUEUE_LIMIT, 5)

        reader, writer = await proxy.connect()
        with anyio.fail_after(1), pytest.raises(CUT):
            await reader.readexactly(1)
        writer.close()
        proxy.endpoints(port)
        with anyio.fail_after(10):
            for reader, writer in talks:
                assert await reader.readexactly(5) == b"hello"
                writer.close()


async def test_a_connection_that_is_refused_is_made_to_another_endpoint() -> None:
    async with relay() as (proxy, port):
        proxy.endpoints(dead_port(), port, dead_port())
        for _ in range(10):
            reader, writer = await proxy.connect()
            with anyio.fail_after(5):
                assert await reader.readexactly(5) == b"hello"
            writer.close()
