"""What nats-py is kept from getting wrong: a server that takes its time to admit us; and its headers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
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


LINES = st.lists(
    st.builds(
        lambda *parts: b"".join(parts),
        st.sampled_from([b"Nats-Sequence", b"a", b"a b", b"\xff", b" a", b"a\t", b"A", b"x:y"]),
        st.sampled_from([b":", b": ", b":\t", b"", b" :"]),
        st.binary(max_size=8),
    ),
    max_size=5,
)


@given(LINES)
def test_headers_are_read_as_nats_py_reads_them(lines: list[bytes]) -> None:
    raw = b"".join(line + b"\r\n" for line in (*lines, b""))

    assert Guarded._parse_header_lines(raw) == Client._parse_header_lines(raw)


def test_a_header_without_a_name_is_left_out_and_of_two_the_last_counts() -> None:
    raw = b"Nats-Sequence: 7\r\n: nobody\r\nno line\r\nNats-Sequence:\t8 \r\n\r\n"

    assert Guarded._parse_header_lines(raw) == {"Nats-Sequence": "8"}
