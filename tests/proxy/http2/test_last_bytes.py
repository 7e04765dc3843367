"""A connection that drains ends when its client has everything, however slowly that reads."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import anyio
import pytest

from common.errors import MeshError
from proxy.codec import frames
from proxy.codec.frames import PREFACE, Kind, Setting
from proxy.codec.header_blocks import write_block
from proxy.codec.heads import UNKNOWN, BadMessage, ResponseHead
from proxy.session.exchange import Exchange
from proxy.session.host import Server
from proxy.session.http2_server import Http2Server
from proxy.transport.sweep import Sweep
from proxy.transport.waiting import Waiting
from tests.support.nats import until

pytestmark = pytest.mark.anyio
BODY = 4_000_000
PART = 16_384
WIDE = 2**30


class Front:
    """Listens, asks the client to leave when its request comes, and then answers with BODY bytes."""

    def __init__(self, sweep: Sweep) -> None:
        self._loop = asyncio.get_running_loop()
        self._sweep = sweep
        self._left = BODY
        self.ended: list[MeshError | None] = []
        self.closed_sessions = 0
        self.server: Http2Server | None = None

    def arrived(self) -> asyncio.Protocol:
        front = self

        class Arrived(Waiting):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                assert self._transport is not None
                front.server = Http2Server(self._transport, front, front._sweep)
                front.server.start()

        return Arrived()

    def serve(self, exchange: Exchange) -> None:
        assert self.server is not None
        exchange.ended = lambda ended: self.ended.append(ended.error)
        self.server.drain()
        exchange.response(ResponseHead(200, [], body=UNKNOWN), b"", False, 0.0)
        self._go_on(exchange)

    def _go_on(self, exchange: Exchange) -> None:
        while self._left and not exchange.held_response and not exchange.done:
            part = min(PART, self._left)
            self._left -= part
            exchange.response_data(bytes(part), not self._left)
        if self._left and not exchange.done:
            self._loop.call_later(0.005, self._go_on, exchange)

    def rejected(self, error: BadMessage) -> None:
        raise error

    def closed(self, server: Server, *, detached: bool) -> None:
        self.closed_sessions += 1

    def tunnel_closed(self) -> None:
        raise AssertionError("there is none")


@asynccontextmanager
async def front() -> AsyncIterator[tuple[Front, socket.socket]]:
    """A Front, and a client with a small buffer that is connected to it and has sent its request."""
    loop, sweep = asyncio.get_running_loop(), Sweep()
    sweep.period = 0.1
    made = Front(sweep)
    listening = await loop.create_server(made.arrived, "127.0.0.1", 0)
    async with anyio.create_task_group() as group:
        group.start_soon(sweep.run)
        with closing(socket.socket()) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            client.setblocking(False)
            await loop.sock_connect(client, listening.sockets[0].getsockname())
            block = write_block(
                [
                    (b":method", b"GET"),
                    (b":scheme", b"http"),
                    (b":path", b"/"),
                    (b":authority", b"a"),
                ]
            )
            await loop.sock_sendall(
                client,
                PREFACE
                + frames.settings({Setting.INITIAL_WINDOW_SIZE: WIDE})
                + frames.window_update(0, WIDE)
                + frames.headers(1, block, end=True),
            )
            try:
                yield made, client
            finally:
                listening.close()
        await until(lambda: made.closed_sessions == 1, 10)
        group.cancel_scope.cancel()


async def test_what_a_slow_client_says_while_it_reads_the_last_of_it_loses_nothing() -> None:
    async with front() as (made, client):
        loop, buffered, got = asyncio.get_running_loop(), b"", 0
        with anyio.fail_after(60):
            while data := await loop.sock_recv(client, PART):
                buffered += data
                while len(buffered) >= frames.HEAD_SIZE:
                    length, _, _ = frames.unpack(buffered, 0)
                    end = frames.HEAD_SIZE + (length >> 8)
                    if len(buffered) < end:
                        break
                    got += (length >> 8) if length & 0xFF == Kind.DATA else 0
                    buffered = buffered[end:]
                await loop.sock_sendall(client, frames.window_update(0, len(data)))
                await anyio.sleep(0.005)  # it is slow

        assert got == BODY
        assert made.ended == [None]
