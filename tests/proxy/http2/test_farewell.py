"""How connections are kept alive, and how they end: who is told what, and that nothing is lost on the way."""

import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import anyio
import pytest
from hyperframe.frame import GoAwayFrame, PingFrame

from common.errors import MeshError
from proxy.codec.frames import Code
from proxy.codec.heads import UNKNOWN, RequestHead, ResponseHead
from proxy.refusals import (
    BadResponse,
    ConnectFailed,
    NotProcessed,
    Overloaded,
    ResponseLost,
    ResponseReset,
)
from proxy.session.exchange import Exchange
from proxy.session.http2_client import Http2Client
from proxy.transport.connect import Connector
from proxy.transport.sweep import Sweep
from tests.support.http2_world import (
    GET,
    POST,
    Caller,
    ClientTalk,
    Loop,
    ServerTalk,
    data,
    ending,
    reset,
    settings,
    window,
    world,
)

PONG = PingFrame(0, b"tulle?\0\0", flags=["ACK"]).serialize()
DONE = ResponseHead(204, [])
_ALL = 2**31 - 1


@pytest.fixture
def loop() -> Iterator[Loop]:
    with world() as loop:
        yield loop
        assert not len(loop.sweep)


@pytest.fixture
def talk(loop: Loop) -> Iterator[ServerTalk]:
    """A server that was greeted; afterwards nothing is left of whatever happened."""
    with ending(ServerTalk(loop)) as talk:
        yield talk


@pytest.fixture
def client(loop: Loop) -> Iterator[ClientTalk]:
    """A client that was greeted; afterwards nothing is left of whatever happened."""
    with ending(ClientTalk(loop)) as talk:
        yield talk


def heard_out(talk: ServerTalk) -> None:
    """The server has said all, and what the client still says resets nothing; it closes when that does."""
    assert talk.wire.ended
    talk.hears(window(0, 1000), goaway(0), b"no frame at all")
    assert talk.says() == []
    assert not talk.wire.closed
    talk.wire.hears_end()
    talk.loop.turn()
    assert talk.wire.closed


def goaway(last: int, code: Code = Code.NO_ERROR) -> bytes:
    return GoAwayFrame(0, last, code).serialize()


def test_a_silent_peer_is_asked_and_then_given_up(talk: ServerTalk) -> None:
    talk.asks(1)
    talk.loop.advance(9)
    assert talk.says() == []

    talk.loop.advance(1)
    assert talk.says() == ["PING"]
    talk.loop.advance(2)
    assert not talk.wire.closed
    talk.loop.advance(1)

    assert talk.wire.broken
    assert talk.applications[0].cancelled


def test_a_peer_that_answers_is_kept(talk: ServerTalk) -> None:
    for _ in range(20):
        talk.loop.advance(10)
        assert talk.says() == ["PING"]
        talk.hears(PONG)

    assert not talk.wire.closed


def test_whatever_a_peer_says_shows_that_it_is_there(talk: ServerTalk) -> None:
    for stream in range(1, 41, 2):
        talk.loop.advance(11 if stream % 4 == 1 else 9)
        assert not talk.wire.closed
        talk.asks(stream)


def test_another_proxy_is_asked_too(loop: Loop) -> None:
    talk = ClientTalk(loop, to_proxy=True)
    caller = talk.ask()
    talk.says()
    loop.advance(10)
    assert talk.says() == ["PING"]

    loop.advance(3)

    assert talk.wire.broken
    assert isinstance(talk.exchange.error, ResponseLost)
    assert caller.head is not None
    assert caller.head.status == 502
    assert (talk.losses, talk.ended.all_once) == (1, True)


def test_an_application_is_not_asked(client: ClientTalk) -> None:
    """Servers of gRPC leave whoever asks often."""
    client.ask()
    client.says()

    client.loop.advance(600)

    assert client.says() == []
    assert not client.wire.closed


def test_a_connection_that_nobody_uses_is_closed(client: ClientTalk) -> None:
    client.loop.advance(59)
    assert not client.wire.closed

    client.loop.advance(11)

    assert client.says()[-1] == "GOAWAY 0 NO_ERROR"
    assert client.wire.closed
    assert not client.session.usable


def test_a_connection_that_is_used_is_not(client: ClientTalk) -> None:
    client.ask()

    client.loop.advance(200)

    assert not client.wire.closed
    assert client.session.usable


def test_a_server_drains(talk: ServerTalk) -> None:
    """RFC 9113 §6.8: a warning, then the last stream; what is on its way is finished."""
    talk.asks(1)
    talk.session.drain()
    assert talk.says() == [f"GOAWAY {_ALL} NO_ERROR"]

    # What was sent before the warning came is served.
    talk.asks(3, POST, end=False)
    talk.loop.advance(2)
    assert talk.says() == ["GOAWAY 3 NO_ERROR"]

    # What comes later is not looked at, and nothing is said of it.
    talk.asks(5, POST, end=False)
    talk.hears(data(5, b"late"))
    talk.asks(5, [(b"trailer-field", b"late")])
    assert talk.says() == []

    talk.applications[0].exchange.response(DONE, b"", True, 0.0)
    talk.hears(data(3, b"body", end=True))
    assert not talk.wire.closed
    talk.applications[1].exchange.response(DONE, b"", True, 0.0)

    assert talk.says() == ["HEADERS 1 end", "HEADERS 3 end"]
    heard_out(talk)
    assert talk.applications[1].body == b"body"
    assert len(talk.applications) == 2


def test_a_server_without_streams_closes_when_the_warning_was_heard(talk: ServerTalk) -> None:
    talk.session.drain()
    talk.session.drain()
    assert talk.says() == [f"GOAWAY {_ALL} NO_ERROR"]
    assert not talk.wire.closed

    talk.loop.advance(2)

    assert talk.says() == ["GOAWAY 0 NO_ERROR"]
    heard_out(talk)


def test_a_server_may_be_told_to_drain_before_it_begins(loop: Loop) -> None:
    talk = ServerTalk(loop, greeted=False)
    before = talk.says()
    fresh = type(talk.session)(talk.wire, talk, loop.sweep)

    fresh.drain()
    fresh.start()

    assert talk.says() == [*before, f"GOAWAY {_ALL} NO_ERROR"]
    assert before[0] == "SETTINGS"
    talk.wire.breaks()
    loop.turn()
    loop.sweep.discard(talk.session)


def test_a_client_that_leaves_is_served_what_it_asked_for(talk: ServerTalk) -> None:
    talk.asks(1)
    talk.hears(goaway(0))
    assert not talk.wire.closed

    talk.applications[0].exchange.response(DONE, b"", True, 0.0)

    assert talk.says() == ["HEADERS 1 end"]
    heard_out(talk)


def test_who_was_told_the_end_and_stays_silent_is_not_waited_for(talk: ServerTalk) -> None:
    talk.session.drain()
    talk.loop.advance(1)
    assert talk.wire.ended
    talk.hears(window(0, 1))
    talk.loop.advance(1.5)
    assert not talk.wire.closed

    talk.loop.advance(4)

    assert talk.wire.closed


def test_a_client_that_leaves_is_heard_to_its_end(talk: ServerTalk) -> None:
    """Who closes with something unread resets the connection, and what was said last may be lost."""
    talk.hears(goaway(0))
    talk.hears(PingFrame(0, b"12345678").serialize())
    assert talk.says() == ["PING ack"]
    assert not talk.wire.closed

    talk.loop.advance(2)

    assert talk.wire.closed
    assert not talk.wire.broken


def test_an_endpoint_that_leaves_finishes_what_it_has_looked_at(client: ClientTalk) -> None:
    callers = [client.ask() for _ in range(3)]
    exchanges = [stream.exchange for stream in client.session.streams.values()]
    client.hears(goaway(_ALL))
    assert client.losses == 1
    assert not client.session.usable
    assert len(client.session.streams) == 3

    client.hears(goaway(3))

    assert isinstance(exchanges[2].error, NotProcessed)
    client.answers(1)
    client.answers(3)
    assert [caller.head and caller.head.status for caller in callers] == [200, 200, 502]
    assert client.wire.closed


def test_what_was_not_looked_at_can_be_tried_again(client: ClientTalk) -> None:
    tried: list[MeshError] = []

    def retry(exchange: Exchange, error: MeshError) -> bool:
        assert exchange is client.exchange
        tried.append(error)
        return True

    client.ask()
    client.exchange.retry = retry

    client.hears(reset(1, Code.REFUSED_STREAM))

    assert [type(error) for error in tried] == [NotProcessed]
    assert not client.exchange.done
    client.exchange.refuse(Overloaded())


@pytest.mark.parametrize(("to_proxy", "named"), [(True, ConnectFailed), (False, ResponseReset)])
def test_only_another_proxy_says_that_its_application_cannot_be_connected_to(
    loop: Loop, to_proxy: bool, named: type[MeshError]
) -> None:
    """An application may have looked at the request before it gave up a connection of its own."""
    talk = ClientTalk(loop, to_proxy=to_proxy)
    caller = talk.ask(b"POST")

    talk.hears(reset(1, Code.CONNECT_ERROR))

    assert type(talk.exchange.error) is named
    assert caller.head is not None
    assert caller.head.status == 502
    talk.wire.breaks()
    loop.turn()


def test_what_came_to_a_proxy_without_an_application_is_broken_off_like_anything_else_once_answered(
    loop: Loop,
) -> None:
    talk = ClientTalk(loop, to_proxy=True)
    caller = talk.ask()
    talk.answers(1, end=False)

    talk.hears(reset(1, Code.CONNECT_ERROR))

    assert isinstance(talk.exchange.error, ResponseReset)
    assert caller.broken == Code.CONNECT_ERROR
    talk.wire.breaks()
    loop.turn()


def test_a_client_drains(client: ClientTalk) -> None:
    client.ask()
    client.session.drain()
    assert not client.session.usable
    assert client.losses == 1
    assert not client.wire.closed

    client.answers(1)

    assert client.wire.closed


def test_a_response_that_is_reset_is_broken_off(client: ClientTalk) -> None:
    caller = client.ask()
    client.answers(1, end=False)

    client.hears(data(1, b"half"), reset(1, Code.INTERNAL_ERROR))

    assert isinstance(client.exchange.error, ResponseReset)
    assert (bytes(caller.body), caller.broken) == (b"half", Code.INTERNAL_ERROR)


def test_an_answer_that_is_not_http_is_told_so(client: ClientTalk) -> None:
    caller = client.ask()

    client.hears(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    assert isinstance(client.exchange.error, BadResponse)
    assert caller.head is not None
    assert caller.head.status == 502
    assert client.wire.closed


def test_a_response_before_the_end_of_its_request_ends_both(
    talk: ServerTalk, client: ClientTalk
) -> None:
    """RFC 9113 §8.1."""
    talk.asks(1, POST, end=False)
    talk.applications[0].exchange.response(DONE, b"", True, 0.0)
    assert talk.says() == ["HEADERS 1 end", "RST_STREAM 1 NO_ERROR"]
    talk.hears(data(1, b"late", end=True))
    assert talk.says() == []

    client.ask(b"POST", end=False)
    client.says()
    client.answers(1)
    assert client.says() == ["RST_STREAM 1 NO_ERROR"]
    client.hears(reset(1, Code.NO_ERROR))
    assert client.says() == []


def test_a_connection_that_closes_does_not_wait_for_ever(talk: ServerTalk) -> None:
    talk.hears(settings(INITIAL_WINDOW_SIZE=2**20))
    talk.asks(1)
    talk.applications[0].exchange.response(ResponseHead(200, [], body=UNKNOWN), b"", False, 0.0)
    talk.wire.stops_reading()
    talk.applications[0].exchange.response_data(b"x" * 60_000)
    talk.loop.turn()

    talk.hears(b"\0\0\0\0\0\0\0\0\0")
    assert talk.wire.closed
    assert talk.applications[0].cancelled
    assert not talk.wire.lost

    talk.loop.advance(6)
    assert talk.wire.broken


def test_a_peer_that_writes_no_more_is_left(talk: ServerTalk) -> None:
    talk.asks(1)

    talk.wire.hears_end()
    talk.loop.turn()

    assert talk.wire.closed
    assert talk.applications[0].cancelled


def test_a_reset_without_a_reason_still_says_that_something_is_missing(talk: ServerTalk) -> None:
    talk.asks(1)
    talk.applications[0].exchange.response(ResponseHead(200, [], body=UNKNOWN), b"x", False, 0.0)

    talk.applications[0].exchange.response_failed(ResponseReset(Code.NO_ERROR))

    assert talk.says() == ["HEADERS 1", "DATA 1 1", "RST_STREAM 1 INTERNAL_ERROR"]


def test_what_comes_on_streams_that_we_reset_is_read_for_the_tables_sake(talk: ServerTalk) -> None:
    talk.asks(1, POST, end=False)
    talk.applications[0].exchange.response(ResponseHead(200, [], body=UNKNOWN), b"", False, 0.0)
    talk.applications[0].exchange.response_failed(ResponseReset(Code.CANCEL))
    talk.asks(1, [(b"x-new", b"in the table")])

    talk.asks(3, [*GET, (b"x-new", b"in the table")])

    assert talk.applications[1].exchange.request.headers == [(b"x-new", b"in the table")]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something to become true."""
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.001)


@asynccontextmanager
async def connected(said: bytes) -> AsyncIterator[tuple[Http2Client, Sweep]]:
    """A session over a real socket to an endpoint that says something at once, and never reads."""

    sweep = Sweep()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stream = await Connector(0, 5.0).plain(*listener.getsockname())
        with listener.accept()[0] as peer:
            peer.sendall(said)
            # uvloop reads what is there before anybody can use it.
            await anyio.sleep(0.05)
            yield Http2Client(stream, sweep, lambda client: None), sweep
            await until(lambda: not len(sweep))


@pytest.mark.anyio
async def test_an_endpoint_that_speaks_first_is_heard() -> None:
    async with connected(settings(MAX_CONCURRENT_STREAMS=7)) as (client, _):
        await until(lambda: client.most_streams == 7)
        client.close()


@pytest.mark.anyio
async def test_a_peer_that_reads_nothing_does_not_keep_a_closed_connection_open() -> None:
    async with connected(settings(INITIAL_WINDOW_SIZE=2**30) + window(0, 2**30)) as (client, sweep):
        await until(lambda: client.initial_window == 2**30)
        head = RequestHead(b"POST", b"/", b"a", [], body=UNKNOWN)
        exchange = Exchange(head, Caller(), 0.0)
        client.carry(exchange)

        def clogged() -> bool:
            exchange.request_data(b"x" * 100_000)
            return client.clogged

        await until(clogged)
        client.close()
        await anyio.sleep(0.05)
        assert len(sweep) == 1

        sweep.look(client.deadline)
    assert exchange.done
