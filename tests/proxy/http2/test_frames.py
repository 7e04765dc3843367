"""Frames: ours against hyperframe's, and that it never matters how a stream of bytes is cut."""

import itertools
import struct

import pytest
from hyperframe.frame import Frame, HeadersFrame, SettingsFrame
from hypothesis import given
from hypothesis import strategies as st

from proxy.codec import frames
from proxy.codec.frames import FRAME_LIMIT, HEAD_SIZE, Code, ConnectionBroken, Kind, Setting
from tests.support.http2_world import GET, POST, ServerTalk, data, headers, reset, window, world

STREAMS = st.integers(1, 2**31 - 1)


def parsed(said: bytes) -> list[Frame]:
    found = []
    while said:
        frame, length = Frame.parse_frame_header(memoryview(said[:HEAD_SIZE]))
        frame.parse_body(memoryview(said[HEAD_SIZE : HEAD_SIZE + length]))
        found.append(frame)
        said = said[HEAD_SIZE + length :]
    return found


@given(STREAMS, st.integers(1, 2**31 - 1), st.sampled_from(Code))
def test_what_we_write_is_what_others_read(stream: int, number: int, code: Code) -> None:
    said = (
        frames.window_update(stream, number)
        + frames.rst_stream(stream, code)
        + frames.goaway(stream, code, b"why")
        + frames.settings({Setting.INITIAL_WINDOW_SIZE: number})
        + frames.frame(Kind.DATA, 1, stream, b"data")
    )

    update, rst, goaway, settings, body = parsed(said)

    assert (update.stream_id, update.window_increment) == (stream, number)  # type: ignore[attr-defined]
    assert (rst.stream_id, rst.error_code) == (stream, code)  # type: ignore[attr-defined]
    assert (goaway.last_stream_id, goaway.error_code) == (stream, code)  # type: ignore[attr-defined]
    assert settings.settings == {SettingsFrame.INITIAL_WINDOW_SIZE: number}  # type: ignore[attr-defined]
    assert (body.stream_id, body.data, set(body.flags)) == (stream, b"data", {"END_STREAM"})  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", [0, 1, FRAME_LIMIT, FRAME_LIMIT + 1, 3 * FRAME_LIMIT + 5])
@pytest.mark.parametrize("end", [False, True])
def test_a_header_block_takes_as_many_frames_as_it_needs(size: int, end: bool) -> None:
    block = bytes(range(256)) * (size // 256 + 1)

    first, *more = parsed(frames.headers(7, block[:size], end=end))

    assert isinstance(first, HeadersFrame)
    assert ("END_STREAM" in first.flags) is end
    assert b"".join(frame.data for frame in (first, *more)) == block[:size]  # type: ignore[attr-defined]
    assert ["END_HEADERS" in frame.flags for frame in (first, *more)] == [False] * len(more) + [
        True
    ]
    assert all(len(frame.data) <= FRAME_LIMIT for frame in (first, *more))  # type: ignore[attr-defined]


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2**32 - 1)), max_size=5),
    st.binary(max_size=5),
)
def test_settings_are_read_in_order_or_refused(pairs: list[tuple[int, int]], rest: bytes) -> None:
    payload = b"".join(struct.pack(">HL", *pair) for pair in pairs) + rest
    try:
        read, broken = frames.read_settings(payload), None
    except ConnectionBroken as error:
        read, broken = [], error.code

    forbidden = any(
        (key == 2 and value > 1)
        or (key == 4 and value > 2**31 - 1)
        or (key == 5 and not 2**14 <= value < 2**24)
        for key, value in pairs
    )
    assert bool(broken) == bool(rest or forbidden)
    assert broken or read == pairs


@given(st.binary(max_size=30), st.integers(0, 255))
def test_padding_is_taken_off_or_refused(payload: bytes, flags: int) -> None:
    try:
        inner = frames.unpadded(flags, payload)
    except ConnectionBroken:
        assert flags & 8
        assert not payload or payload[0] >= len(payload)
    else:
        assert inner == (payload[1 : len(payload) - payload[0]] if flags & 8 else payload)


CONVERSATION = (
    headers(1, b"\x83\x86\x84\x41\x01a", end=False)
    + data(1, b"one", padding=7)
    + data(1, b"two", end=True)
    + headers(3, b"\x82\x86\x84\x41\x01a\x40\x01b\x02cc", end=True)
    + headers(5, b"\x82\x86\x84\x41\x01a\xbf", end=True)
    + window(0, 5)
    + headers(7, b"\x83\x86\x84\x41\x01a", end=False)
    + reset(7)
    + frames.frame(Kind.PRIORITY, 0, 9, bytes(5))
    + frames.frame(Kind.HEADERS, 0x21, 11, b"\0\0\0\0\x10\x82\x86")
    + frames.frame(Kind.CONTINUATION, 0, 11, b"")
    + frames.frame(Kind.CONTINUATION, 4, 11, b"\x84\x41\x01a")
    + frames.frame(Kind.PING, 0, 0, b"12345678")
    + frames.frame(0x77, 0, 1, b"unknown")
    + frames.frame(Kind.PUSH_PROMISE, 4, 1, b"\0\0\0\2")
)


@given(st.lists(st.integers(0, len(CONVERSATION)), max_size=40))
def test_how_the_bytes_are_cut_changes_nothing(cuts: list[int]) -> None:
    def hear(*pieces: bytes) -> list[object]:
        with world() as loop:
            talk = ServerTalk(loop)
            talk.hears(*pieces)
            bodies = [bytes(application.body) for application in talk.applications]
            heads = [application.exchange.request.headers for application in talk.applications]
            cancelled = [application.cancelled for application in talk.applications]
            return [talk.says(), bodies, heads, cancelled, len(talk.ended.exchanges)]

    edges = [0, *sorted(cuts), len(CONVERSATION)]
    pieces = [CONVERSATION[a:b] for a, b in itertools.pairwise(edges)]

    assert hear(*(piece for piece in pieces if piece)) == hear(CONVERSATION)


def test_the_conversation_is_what_it_should_be() -> None:
    with world() as loop:
        talk = ServerTalk(loop)

        talk.hears(CONVERSATION)

        assert talk.says() == [
            "PING ack",
            "GOAWAY 11 PROTOCOL_ERROR push-promise",
        ]
        assert [bytes(application.body) for application in talk.applications] == [
            b"onetwo",
            *[b""] * 4,
        ]
        assert talk.ended.all_once


def test_fields_come_through() -> None:
    with world() as loop:
        talk = ServerTalk(loop)

        talk.asks(1, [*GET, (b"x", b"y")])
        talk.asks(3, [*POST, (b"x", b"y")], end=False)
        talk.hears(data(3, b"body"))
        talk.asks(3, [(b"trailer-field", b"z")])

        assert [a.exchange.request.headers for a in talk.applications] == [[(b"x", b"y")]] * 2
        assert talk.applications[1].body == b"body"
        assert talk.applications[1].trailers == [(b"trailer-field", b"z")]
        talk.wire.breaks()
        loop.turn()
