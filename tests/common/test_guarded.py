"""What nats-py is kept from getting wrong: a server that takes its time to admit us."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from nats.errors import Error

from common.bus.guarded import Guarded
from tests.support.nats import until

pytestmark = pytest.mark.anyio

INFO = b'INFO {"server_id":"x","version":"2.12.0","max_payload":1048576,"headers":true}\r\n'


class Slow:
    """A server that first asks whether we are there, and then says what it is told to."""

    def __init__(self, verdict: bytes, first: bytes = b"PING\r\n") -> None:
        self.heard: list[bytes] = []
        self._first = first
        self._verdict = verdict

    async def serve(self, stream: SocketStream) -> None:
        """One client."""
        async with stream:
            await stream.send(INFO)
            reader = BufferedByteReceiveStream(stream)
            await self._read_until(reader, b"PING")
            await stream.send(self._first)
            # Only a client that is still listening answers.
            await self._read_until(reader, b"PONG")
            await stream.send(self._verdict)
            try:
                while True:
                    line = await reader.receive_until(b"\r\n", 65536)
                    self.heard.append(line)
                    if line == b"PING":
                        await stream.send(b"PONG\r\n")
            except (anyio.IncompleteRead, anyio.EndOfStream, anyio.BrokenResourceError):
                return

    async def _read_until(self, reader: BufferedByteReceiveStream, wanted: bytes) -> None:
        while await reader.receive_until(b"\r\n", 65536) != wanted:
            pass


@asynccontextmanager
async def serving(server: Slow) -> AsyncIterator[str]:
    """Its address, as long as the context lasts."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, server.serve)
        yield f"nats://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        group.cancel_scope.cancel()


async def connect(client: Guarded, url: str) -> None:
    async def on_error(error: Exception) -> None:
        raise error

    with anyio.fail_after(5):
        await client.connect(url, allow_reconnect=False, error_cb=on_error)


@pytest.mark.parametrize("first", [b"PING\r\n", INFO])
async def test_whoever_is_asked_before_being_admitted_is_heard_afterwards(first: bytes) -> None:
    server = Slow(b"PONG\r\n", first)
    async with serving(server) as url:
        client = Guarded(demands_tls=False)
        await connect(client, url)

        await client.publish("a", b"hello")
        await until(lambda: b"hello" in server.heard)
        await client.settle(5)
        assert client.is_connected
        await client.close()


async def test_whoever_is_asked_and_then_refused_is_told() -> None:
    server = Slow(b"-ERR 'Authorization Violation'\r\n")
    async with serving(server) as url:
        client = Guarded(demands_tls=False)

        with pytest.raises(Error, match="authorization"):
            await connect(client, url)

        assert not client.is_connected
        client.abort()
