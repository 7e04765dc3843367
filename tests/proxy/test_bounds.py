"""What is bounded in time or for the whole process: patience, descriptors, bytes in all connections."""

import asyncio
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager

import anyio
import pytest

from proxy.codec.heads import BadMessage
from proxy.refusals import ConnectFailed
from proxy.session.detector import Detector
from proxy.session.exchange import Exchange
from proxy.session.host import Server
from proxy.session.http1_server import HALF_CLOSED_SECONDS, Http1Server
from proxy.session.http2_server import Http2Server
from proxy.transport import census
from proxy.transport.accept import Arrival, Listener
from proxy.transport.connect import Connector
from proxy.transport.detect import Protocol
from proxy.transport.sweep import Sweep
from tests.support.bad_clients import leave_with_reset
from tests.support.conversation import GET, OK, conversation
from tests.support.nats import until

pytestmark = pytest.mark.anyio
BEGUN = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegun"


async def test_a_client_that_writes_no_more_gets_a_prompt_answer() -> None:
    async with conversation() as talk:
        await talk.hears(GET)
        talk.client.hears_end()
        await talk.expire(HALF_CLOSED_SECONDS - 1)
        await talk.answers(OK)

        assert talk.says().endswith(b"ok")
        assert not talk.client.broken


async def test_a_client_that_writes_no_more_is_taken_for_gone_before_long() -> None:
    async with conversation() as talk:
        await talk.hears(GET)
        talk.client.hears_end()
        await talk.expire(HALF_CLOSED_SECONDS + 1)

        assert talk.client.broken
        assert talk.endpoint.broken
        assert [exchange.status for exchange in talk.ended] == [0]


async def test_a_client_that_writes_no_more_is_there_as_long_as_it_is_sent_something() -> None:
    async with conversation() as talk:
        await talk.hears(GET)
        talk.client.hears_end()
        await talk.answers(BEGUN)
        await talk.expire(HALF_CLOSED_SECONDS + 1)
        assert not talk.client.broken
        await talk.answers(b"more")
        await talk.expire(2 * HALF_CLOSED_SECONDS + 2)
        assert not talk.client.broken

        await talk.expire(3 * HALF_CLOSED_SECONDS + 3)
        assert talk.client.broken


async def test_a_client_that_writes_no_more_and_reads_slowly_is_there() -> None:
    async with conversation() as talk:
        await talk.hears(GET)
        talk.client.hears_end()
        talk.client.stops_reading()
        await talk.answers(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", b"x" * 900_000)
        for times in range(1, 5):
            await talk.expire(times * (HALF_CLOSED_SECONDS + 1))
        assert not talk.client.broken

        talk.client.reads_again()
        await talk.answers(b"x" * 100_000)
        assert talk.says().count(b"x") == 1_000_000


@pytest.mark.parametrize("said", [b"x", b"\0", b"HTTP/2", b"SSH-2.0-OpenSSH_9.6", b"http/1.1 200"])
async def test_what_begins_unlike_http_is_refused_before_a_line_of_it_has_ended(
    said: bytes,
) -> None:
    async with conversation() as talk:
        await talk.hears(GET)
        await talk.answers(said)

        assert b"tulle-error: bad-response" in talk.says()


async def test_a_response_that_comes_byte_by_byte_is_none_of_those() -> None:
    async with conversation() as talk:
        await talk.hears(GET)
        await talk.answers(*[bytes([byte]) for byte in OK])

        assert talk.says() == OK


class Visitors:
    """A listener, and who came."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.refused = 0
        self._stack = ExitStack()
        self.listener = Listener(
            "127.0.0.1", 0, limit=1000, arrived=self.arrivals.append, refused=self._refuse
        )

    def _refuse(self) -> None:
        self.refused += 1

    async def comes(self) -> socket.socket:
        """One more client, accepted."""
        before = len(self.arrivals) + self.refused
        client = self._stack.enter_context(socket.create_connection(("127.0.0.1", self.port)))
        await until(lambda: len(self.arrivals) + self.refused > before)
        for arrival in self.arrivals:
            arrival.transport.pause_reading()
        return client

    @property
    def port(self) -> int:
        return self.listener.port

    async def leave(self) -> None:
        self._stack.close()
        for arrival in self.arrivals:
            arrival.transport.abort()
        await self.listener.stop()
        await anyio.sleep(0.01)


@pytest.fixture
async def visitors() -> AsyncIterator[Visitors]:
    made = Visitors()
    await made.listener.start()
    yield made
    await made.leave()


@contextmanager
def few_descriptors() -> Iterator[None]:
    """This process has hardly any left but those that are reserved."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as next_one:
        most = next_one.fileno() + census.RESERVED
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def test_the_last_descriptors_are_not_for_connections(visitors: Visitors) -> None:
    await visitors.comes()
    with few_descriptors():
        await visitors.comes()
        with pytest.raises(ConnectFailed, match="open files"):
            await Connector(0, 1.0).plain("127.0.0.1", visitors.port)
        with socket.socket() as other:
            assert other.fileno() > 0
    await visitors.comes()

    assert (len(visitors.arrivals), visitors.refused) == (2, 1)


async def test_as_many_descriptors_are_claimed_as_there_may_be() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        census.claim_descriptors(limits[0] - 1)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == limits
        resource.setrlimit(resource.RLIMIT_NOFILE, (limits[0] - 10, limits[1]))
        census.claim_descriptors(10**9)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (limits[1], limits[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def test_no_more_comes_at_once_than_there_is_room_for(visitors: Visitors) -> None:
    room = []
    for wanted in (0, 100_000):
        stream = await Connector(0, 1.0, wanted).plain("127.0.0.1", visitors.port)
        connection = stream.get_extra_info("socket")
        room.append(connection.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF))
        stream.abort()
    await until(lambda: len(visitors.arrivals) == 2)

    # The kernel doubles it, for what it needs itself (socket(7)).
    assert room[1] == 2 * 100_000 != room[0]


async def test_what_waits_in_connections_is_counted(visitors: Visitors) -> None:
    await visitors.comes()
    before = census.buffered_bytes()
    visitors.arrivals[0].transport.write(b"x" * 30_000_000)
    waiting = census.buffered_bytes() - before
    assert 10_000_000 < waiting <= 30_000_000

    # One that closes has it still.
    visitors.arrivals[0].transport.close()
    assert census.buffered_bytes() - before == waiting
    visitors.arrivals[0].transport.abort()
    await until(lambda: census.buffered_bytes() == before)


async def test_when_too_much_waits_those_end_that_stalled_longest_ago(visitors: Visitors) -> None:
    for number in range(4):
        await visitors.comes()
        if number < 3:
            visitors.arrivals[number].transport.write(b"x" * 30_000_000)
            await anyio.sleep(0.05)
    first, second, third, idle = (arrival.transport for arrival in visitors.arrivals)
    each = census.buffered_bytes() // 3

    census.end_stalled(4 * each)
    assert not first.is_closing()

    census.end_stalled(2 * each + each // 2)
    closing = [transport.is_closing() for transport in (first, second, third, idle)]
    assert closing == [True, False, False, False]

    await until(lambda: census.buffered_bytes() < 3 * each)
    census.end_stalled(0)
    closing = [transport.is_closing() for transport in (first, second, third, idle)]
    assert closing == [True, True, True, False]


class Heard(asyncio.Protocol):
    """Remembers that it was told of the end."""

    lost = False

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True


@pytest.mark.parametrize("said", [b"", b"x" * 1_000_000])
async def test_who_breaks_while_nobody_reads_is_found(visitors: Visitors, said: bytes) -> None:
    quiet, breaking = await visitors.comes(), await visitors.comes()
    heard = [Heard(), Heard()]
    for arrival, protocol in zip(visitors.arrivals, heard, strict=True):
        arrival.transport.set_protocol(protocol)
    breaking.setblocking(False)
    breaking.send(said)
    leave_with_reset(breaking)
    breaking.close()
    quiet.shutdown(socket.SHUT_WR)
    for _ in range(5):
        await anyio.sleep(0.01)
    assert not any(protocol.lost for protocol in heard)

    census.end_broken()
    await until(lambda: heard[1].lost)
    assert not heard[0].lost


class Surroundings:
    """The Host of a session, or who waits for what a connection speaks."""

    def __init__(self) -> None:
        self.gone = 0

    def serve(self, exchange: Exchange) -> None:
        raise AssertionError("nobody asked")

    def rejected(self, error: BadMessage) -> None:
        raise AssertionError("nobody asked")

    def closed(self, server: Server, *, detached: bool) -> None:
        self.gone += 1

    def tunnel_closed(self) -> None:
        raise AssertionError("there is none")

    def found(self, protocol: Protocol, early: bytes) -> None:
        raise AssertionError("nobody said anything")

    def left(self) -> None:
        self.gone += 1


@pytest.mark.parametrize("user", ["HTTP/1.1", "HTTP/2", "detection"])
async def test_who_left_before_there_was_a_user_is_known_to_have_left(
    visitors: Visitors, user: str
) -> None:
    client = await visitors.comes()
    stream = visitors.arrivals[0].transport
    stream.resume_reading()
    leave_with_reset(client)
    client.close()
    await until(stream.is_closing)
    await anyio.sleep(0.01)

    host, sweep = Surroundings(), Sweep()
    if user == "HTTP/1.1":
        Http1Server(stream, host, sweep).start()
    elif user == "HTTP/2":
        Http2Server(stream, host, sweep).start()
    else:
        Detector(stream, sweep, host.found, host.left).start()
    await until(lambda: host.gone)
    await anyio.sleep(0.01)
    assert (host.gone, len(sweep)) == (1, 0)
