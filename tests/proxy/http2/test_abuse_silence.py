"""Peers that do not read, do not speak, speak something else, or say more than they may."""

from collections.abc import Iterator

import pytest
from hyperframe.frame import ContinuationFrame, PingFrame, SettingsFrame

from proxy.codec.frames import PREFACE
from proxy.codec.header_blocks import write_block
from proxy.codec.heads import ResponseHead
from proxy.session.http2_output import MUTTER_LIMIT
from tests.support.http2_world import (
    GET,
    OK,
    POST,
    ClientTalk,
    Loop,
    ServerTalk,
    data,
    ending,
    headers,
    settings,
)

ASK = write_block(GET)


@pytest.fixture
def talk(loop: Loop, neighbours: int) -> Iterator[ServerTalk]:
    """A server that was greeted; afterwards nothing is left of whatever happened."""
    with ending(ServerTalk(loop)) as talk:
        yield talk
    assert len(loop.sweep) == neighbours


@pytest.mark.parametrize(
    "reply", [PingFrame(0, b"12345678").serialize(), settings()], ids=["PING", "SETTINGS"]
)
def test_a_peer_that_does_not_read_its_replies_is_left(talk: ServerTalk, reply: bytes) -> None:
    talk.wire.stops_reading()
    for stream in range(1, 500_001, 2):
        # As many requests as pay for the busywork.
        talk.hears(headers(stream, ASK, end=True) + reply * 5)
        if talk.wire.closed:
            break
        talk.applications[-1].exchange.response(ResponseHead(204, []), b"", True, 0.0)
        assert talk.wire.get_write_buffer_size() < MUTTER_LIMIT + 200_000

    assert talk.wire.broken


def test_a_peer_that_does_not_read_heads_is_left(talk: ServerTalk) -> None:
    talk.wire.stops_reading()
    large = ResponseHead(200, [(b"x", b"v" * 60_000)])
    for stream in range(1, 1001, 2):
        talk.hears(headers(stream, ASK, end=True))
        if talk.wire.closed:
            break
        talk.applications[-1].exchange.response(large, b"", True, 0.0)
        assert talk.wire.get_write_buffer_size() < MUTTER_LIMIT + 200_000

    assert talk.wire.broken


@pytest.mark.parametrize("said", [b"", b"P", PREFACE[:-1], PREFACE, PREFACE + settings()[:5]])
def test_a_client_that_does_not_say_what_it_wants_is_left(loop: Loop, said: bytes) -> None:
    talk = ServerTalk(loop, greeted=False)
    for at in range(8):
        talk.hears(said[at : at + 1])
        loop.advance(1)
    talk.hears(said[8:])
    talk.says()

    loop.advance(3)

    assert talk.says() == ["GOAWAY 0 SETTINGS_TIMEOUT settings"]
    assert talk.wire.closed
    assert talk.closed_sessions == 1


@pytest.mark.parametrize(
    "said",
    [b"GET / HTTP/1.1\r\n\r\n", PREFACE[:-1] + b"x", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r"],
)
def test_a_client_that_speaks_something_else_is_left(loop: Loop, said: bytes) -> None:
    talk = ServerTalk(loop, greeted=False)

    talk.hears(said)

    assert talk.says()[-1] == "GOAWAY 0 PROTOCOL_ERROR preface"
    assert talk.wire.closed


@pytest.mark.parametrize(
    "first",
    [
        headers(1, ASK, end=True),
        SettingsFrame(0, flags=["ACK"]).serialize(),
        PingFrame(0, b"12345678").serialize(),
        ContinuationFrame(1, b"").serialize(),
    ],
    ids=["HEADERS", "SETTINGS ack", "PING", "CONTINUATION"],
)
def test_settings_come_first(loop: Loop, first: bytes) -> None:
    server, client = ServerTalk(loop, greeted=False), ClientTalk(loop, greeted=False)

    server.hears(PREFACE + first)
    client.hears(first)

    assert server.says()[-1] == "GOAWAY 0 PROTOCOL_ERROR settings-expected"
    assert client.says()[-1] == "GOAWAY 0 PROTOCOL_ERROR settings-expected"


def test_a_server_may_not_push(loop: Loop) -> None:
    talk = ClientTalk(loop, greeted=False)

    talk.hears(settings(ENABLE_PUSH=1))

    assert talk.says()[-1] == "GOAWAY 0 PROTOCOL_ERROR enable-push"


def test_a_body_before_its_head_is_no_response(loop: Loop) -> None:
    talk = ClientTalk(loop)
    callers = [talk.ask() for _ in range(2)]
    talk.says()

    talk.hears(data(1, b"", end=True), data(3, b"body"))

    assert [caller.head and caller.head.status for caller in callers] == [502, 502]
    assert talk.says() == ["RST_STREAM 1 PROTOCOL_ERROR", "RST_STREAM 3 PROTOCOL_ERROR"]
    assert talk.ended.all_once
    talk.wire.breaks()
    loop.turn()


def test_streams_that_nobody_opened_are_not_reset(talk: ServerTalk) -> None:
    """RFC 9113 §5.1: RST_STREAM must not be sent for an idle stream."""
    talk.hears(b"\0\0\4\2\0\0\0\0\11abcd")

    assert talk.says() == ["GOAWAY 0 FRAME_SIZE_ERROR priority-size"]


def test_an_upload_that_nobody_reads_is_held_where_it_is(talk: ServerTalk) -> None:
    """Whatever a client sends, no more than a window of it is taken in."""
    talk.asks(1, POST, end=False)
    talk.applications[0].exchange.server.hold_request(True)

    for _ in range(4):
        talk.hears(data(1, b"x" * 16_000))
    talk.hears(data(1, b"x" * 1535))
    assert talk.says() == []

    talk.hears(data(1, b"x"))
    assert talk.says() == ["RST_STREAM 1 FLOW_CONTROL_ERROR"]
    assert talk.applications[0].cancelled


def test_a_stream_that_nobody_reads_holds_up_no_other(talk: ServerTalk) -> None:
    for stream in (1, 3):
        talk.asks(stream, POST, end=False)
    talk.applications[0].exchange.server.hold_request(True)
    talk.hears(*[data(1, b"x" * 16_000)] * 4)

    for _ in range(400):
        talk.hears(data(3, b"y" * 16_000))
        # The client never exceeds what it was given.
        talk.says()

    assert len(talk.applications[1].body) == 6_400_000
    assert len(talk.applications[0].body) == 64_000


def test_a_response_that_comes_after_all_is_passed_over(loop: Loop) -> None:
    talk = ClientTalk(loop)
    callers = [talk.ask() for _ in range(1000)]
    exchanges = len(callers)
    for stream in list(talk.session.streams.values()):
        stream.exchange.request_lost()
    talk.says()

    for number in range(exchanges):
        talk.answers(2 * number + 1, end=False)
        talk.hears(data(2 * number + 1, b"late", end=True))

    assert talk.says() == []
    assert not talk.wire.closed
    talk.wire.breaks()
    loop.turn()
    assert talk.ended.all_once


def test_a_response_that_nobody_reads_is_held_where_it_is(loop: Loop, neighbours: int) -> None:
    talk = ClientTalk(loop)
    caller = talk.ask()
    talk.answers(1, end=False)
    talk.exchange.hold_response(True)
    talk.says()

    talk.hears(*[data(1, b"x" * 16_000)] * 4, data(1, b"x" * 1535))
    assert talk.says() == []
    assert not caller.finished

    talk.hears(data(1, b"x"))
    assert talk.says() == ["RST_STREAM 1 FLOW_CONTROL_ERROR"]
    assert caller.broken is not None
    assert not talk.wire.closed
    talk.wire.breaks()
    loop.turn()


def test_an_endpoint_that_does_not_read_its_replies_is_left(loop: Loop, neighbours: int) -> None:
    talk = ClientTalk(loop)
    talk.wire.stops_reading()
    reply = PingFrame(0, b"12345678").serialize()
    for _ in range(500_000):
        # As many requests as pay for the busywork.
        talk.ask()
        stream = 2 * talk.session.opened - 1
        talk.hears(headers(stream, write_block(OK), end=True) + reply * 5)
        if talk.wire.closed:
            break
        assert talk.wire.get_write_buffer_size() < MUTTER_LIMIT + 200_000

    assert talk.wire.broken
    loop.turn()
    assert talk.losses == 1
    assert talk.ended.all_once
