"""Opaque connections over real sockets: half-close, breaks, back-pressure, early bytes; each told once."""

import gc
import socket
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from anyio.to_thread import run_sync

from proxy.transport.relay import Relay
from proxy.transport.stream import Stream
from proxy.transport.waiting import Waiting
from tests.support import ends
from tests.support.ends import SocketFar, TlsFiles, socket_pair, transport
from tests.support.nats import until
from tests.support.streams import MemoryStream

pytestmark = pytest.mark.anyio

BIG = bytes(range(256)) * 4096 * 8


class Joined:
    """A relay between two connections whose far ends a test drives."""

    def __init__(self, left: SocketFar, right: SocketFar, streams: tuple[Stream, Stream]) -> None:
        self.left = left
        self.right = right
        self.streams = streams
        self.outcomes: list[tuple[Exception | None, int, int]] = []
        self.relay = Relay(*streams, lambda *outcome: self.outcomes.append(outcome))

    async def over(self) -> tuple[Exception | None, int, int]:
        """How it ended; both streams are closed then."""
        await until(lambda: self.outcomes)
        await until(lambda: all(stream.is_closing() for stream in self.streams))
        assert len(self.outcomes) == 1
        return self.outcomes[0]


@asynccontextmanager
async def joined(
    early: tuple[bytes, bytes] = (b"", b""), *, start: bool = True
) -> AsyncIterator[Joined]:
    near_left, far_left = socket_pair()
    near_right, far_right = socket_pair()
    with far_left, far_right:
        left, right = await transport(near_left, Waiting()), await transport(near_right, Waiting())
        both = Joined(SocketFar(far_left), SocketFar(far_right), (left, right))
        if start:
            both.relay.start(*early)
        yield both
        for stream in (left, right):
            stream.abort()
        await anyio.lowlevel.checkpoint()
        await until(lambda: both.outcomes or not start)


async def test_bytes_go_both_ways_early_ones_first() -> None:
    async with joined((b"early left,", b"early right,")) as both:
        await both.left.send(b"left")
        await both.right.send(b"right")

        assert await both.right.receive(15) == b"early left,left"
        assert await both.left.receive(17) == b"early right,right"


@pytest.mark.parametrize("first", ["left", "right"])
async def test_one_side_ends_and_the_other_goes_on(first: str) -> None:
    async with joined() as both:
        one, other = (both.left, both.right) if first == "left" else (both.right, both.left)
        await one.send(b"question")
        await one.end()
        assert await other.receive(100) == b"question"
        await other.send(b"answer")
        assert await one.receive(6) == b"answer"
        assert both.outcomes == []
        await other.end()
        assert await one.receive(1) == b""

        error, from_left, from_right = await both.over()
        assert error is None
        assert {from_left, from_right} == {6, 8}


async def test_a_lot_goes_both_ways_at_once_and_arrives_whole() -> None:
    async with joined() as both:
        heard: dict[str, bytes] = {}

        async def hear(name: str, end: SocketFar) -> None:
            heard[name] = await end.receive(len(BIG) + 1)

        async def say(end: SocketFar) -> None:
            await end.send(BIG)
            await end.end()

        async with anyio.create_task_group() as group:
            group.start_soon(hear, "left", both.left)
            group.start_soon(hear, "right", both.right)
            group.start_soon(say, both.left)
            group.start_soon(say, both.right)
        assert heard == {"left": BIG, "right": BIG}
        assert await both.over() == (None, len(BIG), len(BIG))


async def test_a_reader_that_does_not_read_stops_the_writer_in_bounded_memory() -> None:
    async with joined() as both:
        both.left.socket.setblocking(False)
        sent = 0
        stalled = 0
        while stalled < 20:
            try:
                sent += both.left.socket.send(b"x" * 65536)
                stalled = 0
            except BlockingIOError:
                stalled += 1
            await anyio.sleep(0.002)
            assert sent < 50_000_000
        assert both.streams[1].get_write_buffer_size() < 600_000
        both.left.socket.settimeout(10)

        assert len(await both.right.receive(sent)) == sent
        await both.left.send(b"more")
        assert await both.right.receive(4) == b"more"


@pytest.mark.parametrize("first", ["left", "right"])
async def test_a_connection_that_breaks_breaks_the_other(first: str) -> None:
    async with joined() as both:
        one, other = (both.left, both.right) if first == "left" else (both.right, both.left)
        await one.send(b"half")
        assert await other.receive(4) == b"half"
        await one.reset()

        with pytest.raises(ConnectionResetError):
            await other.receive(1)
        error, _, _ = await both.over()
        assert isinstance(error, ConnectionError)


async def test_an_end_that_came_before_the_relay_is_passed_on() -> None:
    async with joined(start=False) as both:
        await both.left.send(b"quick")
        await both.left.end()
        await anyio.sleep(0.02)
        both.relay.start()

        assert await both.right.receive(100) == b"quick"
        await both.right.send(b"answer")
        assert await both.left.receive(6) == b"answer"


async def test_a_side_that_broke_before_the_relay_ends_it_at_once() -> None:
    left, right = MemoryStream(), MemoryStream()
    left.breaks()
    await anyio.lowlevel.checkpoint()
    outcomes: list[object] = []
    Relay(left, right, lambda *outcome: outcomes.append(outcome)).start()
    await until(lambda: outcomes)

    assert right.broken
    assert len(outcomes) == 1


@pytest.mark.parametrize("ending", ["end", "truncate", "reset"])
async def test_tls_on_one_side_ends_and_breaks_like_a_plain_one(
    ending: str, tmp_path: Path
) -> None:
    near, far = socket_pair()
    plain = await transport(near, Waiting())
    with far:
        async with ends.tls(Waiting(), TlsFiles(tmp_path), server=True) as (secure, peer):
            outcomes: list[object] = []
            Relay(secure, plain, lambda *outcome: outcomes.append(outcome)).start()
            reader = SocketFar(far)
            await peer.send(BIG[:300_000])
            await getattr(peer, ending)()
            if ending == "end":
                assert await reader.receive(300_001) == BIG[:300_000]
                await reader.send(b"answer")
                assert await peer.receive(6) == b"answer"
            else:
                # Whoever reads must not take it for the whole.
                with pytest.raises(ConnectionResetError):
                    await reader.receive(300_001)
            plain.abort()
            await until(lambda: outcomes)
            assert len(outcomes) == 1


async def test_a_plain_side_that_breaks_is_no_end_to_tls(tmp_path: Path) -> None:
    files = TlsFiles(tmp_path)
    near, far = socket_pair()
    plain = await transport(near, Waiting())
    async with ends.tls(Waiting(), files, server=False) as (secure, peer):
        outcomes: list[object] = []
        Relay(plain, secure, lambda *outcome: outcomes.append(outcome)).start()
        await SocketFar(far).send(b"half")
        assert await peer.receive(4) == b"half"
        await SocketFar(far).reset()

        with pytest.raises(ConnectionError):
            await peer.receive(1)
        await until(lambda: outcomes)


async def test_counts_are_what_came_from_each_side() -> None:
    async with joined((b"12", b"345")) as both:
        await both.left.send(b"6")
        await run_sync(both.right.socket.recv, 3, socket.MSG_WAITALL)
        await both.left.end()
        await both.right.end()

        assert await both.over() == (None, 3, 3)


@pytest.mark.parametrize("breaks", [False, True])
async def test_a_relay_that_is_over_needs_no_collector(breaks: bool) -> None:
    """TLS alone is 50 KB for each connection: enough of them would be there before it looks."""
    gc.collect()
    gc.disable()
    try:
        streams = [MemoryStream(), MemoryStream()]
        relays = [Relay(streams[0], streams[1], lambda *outcome: None)]
        relays[0].start()
        gone = [weakref.ref(one) for one in (*relays, *streams)]
        if breaks:
            streams[0].breaks()
        else:
            streams[0].hears_end()
            streams[1].hears_end()
        await until(lambda: all(stream.lost for stream in streams))
        await anyio.lowlevel.checkpoint()
        for stream in streams:
            stream.protocol = None  # as event loops do it
        del stream
        streams.clear()
        relays.clear()

        assert [one() for one in gone] == [None, None, None]
    finally:
        gc.enable()
