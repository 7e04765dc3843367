"""Anything at all, said to both sessions: no exception, bounded growth, and everything that began ends."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.codec import frames
from proxy.codec.frames import FRAME_LIMIT, HEAD_SIZE, PREFACE
from proxy.codec.header_blocks import write_block
from proxy.codec.heads import UNKNOWN, ResponseHead
from proxy.refusals import ResponseLost
from proxy.session.backlog import Backlog
from proxy.session.http2_connection import BLOCK_LIMIT, STREAMS_LIMIT, Http2Connection
from proxy.session.http2_output import BURST, RECENT_LIMIT
from tests.support.effort import effort
from tests.support.http2_world import GET, OK, POST, ClientTalk, Loop, ServerTalk, settings, world

STREAMS = st.sampled_from([0, 1, 1, 3, 3, 5, 7, 2, 2**31 - 1])
BLOCKS = st.sampled_from(
    [
        write_block(GET),
        write_block(POST),
        write_block([*POST, (b"content-length", b"5")]),
        write_block(OK),
        write_block([*OK, (b"content-length", b"5")]),
        write_block([(b":status", b"103")]),
        write_block([(b"trailer-field", b"a")]),
        b"\x40\x01a\x01b",
        b"\xbe",
        b"\x20",
    ]
) | st.binary(max_size=12)
NUMBERS = st.sampled_from([0, 1, 5, 1000, 65_535, 2**30, 2**31 - 1, 2**32 - 1])
PAYLOADS = st.one_of(
    st.binary(max_size=20),
    BLOCKS,
    NUMBERS.map(lambda number: number.to_bytes(4, "big")),
    st.tuples(st.integers(0, 8), NUMBERS).map(
        lambda pair: pair[0].to_bytes(2, "big") + pair[1].to_bytes(4, "big")
    ),
    st.sampled_from([0, 5, 1000, FRAME_LIMIT]).map(bytes),
)
FLAGS = st.sampled_from([0, 1, 4, 5, 8, 0x20, 0x2D]) | st.integers(0, 255)
# Header blocks often, for there is nothing to talk about without streams.
KINDS = st.sampled_from([0, 0, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 9, 10, 200])
ANY_FRAMES = st.builds(frames.frame, KINDS, FLAGS, STREAMS, PAYLOADS)
HEADERS = st.builds(
    lambda n, block, end: frames.headers(n, block, end=end), STREAMS, BLOCKS, st.booleans()
)
PIECES = st.lists(ANY_FRAMES | HEADERS | HEADERS | st.binary(max_size=30), max_size=25)
CHANGES = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=3)
ANSWERS = st.lists(st.sampled_from(["respond", "send", "end", "fail", "wait", "hold"]), max_size=25)


def changed(pieces: list[bytes], changes: list[tuple[int, int]]) -> list[bytes]:
    """The same pieces, with some bytes of them another."""
    for at, byte in changes:
        number = at % (len(pieces) or 1)
        if pieces and pieces[number]:
            piece = bytearray(pieces[number])
            piece[at % len(piece)] = byte
            pieces = [*pieces[:number], bytes(piece), *pieces[number + 1 :]]
    return pieces


def is_bounded(session: Http2Connection[Any]) -> bool:
    """Whether nothing grows that should not."""
    parts = session._block[2] if session._block else []
    return (
        len(session._buffer) < FRAME_LIMIT + HEAD_SIZE
        and sum(map(len, parts)) <= BLOCK_LIMIT
        and len(session.streams) <= STREAMS_LIMIT
        and len(session._recent) <= RECENT_LIMIT
        and set(session.waiting) <= set(session.streams.values())
        and session.credit <= max(BURST, 65_535)
        and session.backlog.size
        == sum(len(stream.pending or b"") for stream in session.streams.values())
    )


def do(talk: ServerTalk, what: str) -> None:
    """What an application might."""
    for application in talk.applications[-3:]:
        exchange = application.exchange
        if exchange.done:
            continue
        if what == "respond" and not exchange.response_started:
            exchange.response(ResponseHead(200, [], body=UNKNOWN), b"", False, 0.0)
        elif what == "send" and exchange.response_started:
            exchange.response_data(b"x" * 40_000)
        elif what == "end" and exchange.response_started:
            exchange.response_end([])
        elif what == "fail":
            exchange.response_failed(ResponseLost("test"))
        elif what == "hold":
            exchange.server.hold_request(True)
        elif what == "wait":
            talk.loop.advance(2)


@effort(150)
@given(PIECES, CHANGES, ANSWERS, st.booleans())
def test_a_client_may_say_anything(
    pieces: list[bytes], changes: list[tuple[int, int]], answers: list[str], greeted: bool
) -> None:
    with world() as loop:
        talk = ServerTalk(loop)
        for number, piece in enumerate(changed(pieces, changes)):
            talk.hears(piece)
            assert is_bounded(talk.session)
            if number < len(answers):
                do(talk, answers[number])
        _end(loop, talk)
        assert talk.closed_sessions == 1


@effort(150)
@given(
    PIECES, CHANGES, st.lists(st.sampled_from(["GET", "HEAD", "POST", "more", "wait"]), max_size=25)
)
def test_an_endpoint_may_say_anything(
    pieces: list[bytes], changes: list[tuple[int, int]], requests: list[str]
) -> None:
    with world() as loop:
        talk = ClientTalk(loop)
        for number, piece in enumerate(changed(pieces, changes)):
            what = requests[number] if number < len(requests) else ""
            if what == "wait":
                loop.advance(2)
            elif what == "more":
                for stream in list(talk.session.streams.values()):
                    stream.exchange.request_data(b"x" * 40_000)
            elif what not in ("", "more") and talk.session.usable:
                talk.ask(what.encode(), end=what != "POST")
            talk.hears(piece)
            assert is_bounded(talk.session)
        _end(loop, talk)
        assert talk.losses == 1


@effort(100)
@given(st.binary(max_size=200), st.booleans())
def test_first_bytes_may_be_anything(said: bytes, greeted: bool) -> None:
    with world() as loop:
        server = ServerTalk(loop, greeted=False)
        client = ClientTalk(loop, greeted=False)
        start = PREFACE + settings() if greeted else b""

        server.hears(start + said)
        client.hears(start.removeprefix(PREFACE) + said)

        _end(loop, server, client)


def _end(loop: Loop, *talks: ServerTalk | ClientTalk) -> None:
    for talk in talks:
        if not talk.wire.closed:
            # What it says is HTTP/2, whatever it was told.
            talk.says()
        talk.wire.breaks()
    loop.advance(15)
    for talk in talks:
        assert talk.ended.all_once
        assert not talk.session.streams
    assert not len(loop.sweep)
    assert Backlog.total == 0
