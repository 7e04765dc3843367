"""Header blocks that are too long, too slow, or stand for too much; and streams that are too many."""

from collections.abc import Iterator

import pytest
from hpack import Encoder
from hyperframe.frame import ContinuationFrame, HeadersFrame, PingFrame

from proxy.codec.header_blocks import write_block
from proxy.codec.heads import Headers, ResponseHead
from proxy.session.memo import Memo
from tests.support.http2_world import (
    GET,
    OK,
    POST,
    ClientTalk,
    Loop,
    ServerTalk,
    ending,
    headers,
)

ASK = write_block(GET)
MANY: Headers = [(b"x-%d" % number, b"v" * 4000) for number in range(17)]


@pytest.fixture
def talk(loop: Loop, neighbours: int) -> Iterator[ServerTalk]:
    """A server that was greeted; afterwards nothing is left of whatever happened."""
    with ending(ServerTalk(loop)) as talk:
        yield talk


@pytest.fixture
def client(loop: Loop, neighbours: int) -> Iterator[ClientTalk]:
    """A client that was greeted; afterwards nothing is left of whatever happened."""
    with ending(ClientTalk(loop)) as talk:
        yield talk


def in_pieces(stream: int, block: bytes, *, end: bool) -> list[bytes]:
    """A block in as many frames as it needs, and an empty one."""
    flags = ["END_STREAM"] if end else []
    size = 16_000
    first = HeadersFrame(stream, block[:size], flags=flags).serialize()
    more = [
        ContinuationFrame(stream, block[at : at + size]).serialize()
        for at in range(size, len(block), size)
    ]
    return [first, *more, ContinuationFrame(stream, flags=["END_HEADERS"]).serialize()]


def test_nothing_comes_between_the_frames_of_a_header_block(talk: ServerTalk) -> None:
    talk.hears(HeadersFrame(1, ASK).serialize(), PingFrame(0, b"12345678").serialize())

    assert talk.says() == ["GOAWAY 0 PROTOCOL_ERROR continuation-expected"]


@pytest.mark.parametrize("side", ["server", "client"])
def test_a_header_block_has_its_time(talk: ServerTalk, client: ClientTalk, side: str) -> None:
    one = talk if side == "server" else client
    one.hears(HeadersFrame(1, ASK).serialize())
    for _ in range(8):
        one.loop.advance(1)
        one.hears(ContinuationFrame(1, b"").serialize()[:4])
        assert not one.wire.closed
        one.hears(ContinuationFrame(1, b"").serialize()[4:])

    one.loop.advance(3)

    assert one.says() == ["GOAWAY 0 ENHANCE_YOUR_CALM header-block-time"]


@pytest.mark.parametrize("end", [True, False])
def test_a_request_whose_head_is_too_large_is_answered_and_the_connection_lives(
    talk: ServerTalk, end: bool
) -> None:
    encoder = Encoder()

    talk.hears(headers(1, encoder.encode(GET), end=True))
    talk.hears(*in_pieces(3, encoder.encode([*GET, *MANY]), end=end))
    talk.hears(headers(5, encoder.encode([*GET, MANY[-1]]), end=True))

    # Of a stream that the client has not ended, nobody wants the rest.
    assert talk.says() == ["HEADERS 3 end", *([] if end else ["RST_STREAM 3 NO_ERROR"])]
    assert talk.rejections == ["head-too-long"]
    # And the table has what the block that was refused put into it.
    assert [a.exchange.request.headers for a in talk.applications] == [[], [MANY[-1]]]


def test_a_response_whose_head_is_too_large_fails_and_the_connection_lives(
    client: ClientTalk,
) -> None:
    encoder = Encoder()
    callers = [client.ask() for _ in range(2)]

    client.hears(*in_pieces(1, encoder.encode([*OK, *MANY]), end=True))
    client.hears(headers(3, encoder.encode([*OK, MANY[-1]]), end=True))

    assert [caller.head and caller.head.status for caller in callers] == [502, 200]
    assert callers[1].head is not None
    assert callers[1].head.headers == [MANY[-1]]


def test_trailers_that_are_too_large_end_their_stream_only(
    talk: ServerTalk, client: ClientTalk
) -> None:
    talk.asks(1, POST, end=False)
    caller = client.ask()
    client.answers(1, end=False)
    block = Encoder().encode(MANY)
    client.says()

    talk.hears(*in_pieces(1, block, end=True))
    client.hears(*in_pieces(1, block, end=True))

    assert talk.says() == ["RST_STREAM 1 PROTOCOL_ERROR"]
    assert talk.applications[0].cancelled
    assert client.says() == ["RST_STREAM 1 PROTOCOL_ERROR"]
    assert caller.broken is not None
    assert not talk.wire.closed
    assert not client.wire.closed


def test_long_lists_in_a_few_bytes_are_each_refused_and_not_kept(talk: ServerTalk) -> None:
    encoder = Encoder()
    talk.hears(headers(1, encoder.encode([*GET, (b"x", b"v" * 4000)]), end=True))
    block = encoder.encode([*GET, *[(b"x", b"v" * 4000)] * 17])
    before = Memo.total

    for stream in range(3, 4003, 2):
        talk.hears(headers(stream, block, end=True))

    assert talk.says()[-1] == "HEADERS 4001 end"
    assert len(talk.rejections) == 2000
    assert Memo.total == before


def test_more_streams_than_allowed_are_refused(talk: ServerTalk) -> None:
    for stream in range(1, 2 * 258, 2):
        talk.hears(headers(stream, ASK, end=True))

    assert talk.says() == ["RST_STREAM 513 REFUSED_STREAM", "RST_STREAM 515 REFUSED_STREAM"]
    assert len(talk.applications) == 256

    talk.applications[7].exchange.response(ResponseHead(204, []), b"", True, 0.0)
    talk.hears(headers(517, ASK, end=True))

    assert talk.says() == ["HEADERS 15 end"]
    assert len(talk.applications) == 257
