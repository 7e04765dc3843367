"""Anything at all, said to whoever reads what strangers write: only the declared errors, and bounded growth."""

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from common.errors import MeshError
from proxy.codec import frames, http1, http2
from proxy.codec.body import reader
from proxy.codec.frames import PREFACE, ConnectionBroken
from proxy.codec.header_blocks import LIST_LIMIT, TABLE_SIZE, BlockReader, write_block
from proxy.codec.heads import UNKNOWN, BadMessage, Headers, RequestHead, ResponseHead
from proxy.session.exchange import Exchange
from proxy.session.host import Server
from proxy.session.http1_client import Http1Client
from proxy.session.http1_server import READ_AHEAD, Http1Server
from proxy.session.http2_client import Http2Client
from proxy.session.http2_server import Http2Server
from proxy.transport import header
from proxy.transport.detect import Protocol, detect
from tests.support.effort import effort
from tests.support.http2_world import OK, POST, Application, Caller, Ended, Loop, world
from tests.support.streams import MemoryStream

# What messages are made of, so that some of them are whole.
LINES = (
    "GET / HTTP/1.1",
    "POST / HTTP/1.1",
    "CONNECT a:1 HTTP/1.1",
    "OPTIONS * HTTP/1.0",
    "GET http://a/ HTTP/1.1",
    "PRI * HTTP/2.0",
    "SM",
    "HTTP/1.1 100 Continue",
    "HTTP/1.1 101 Switching",
    "HTTP/1.1 200 OK",
    "HTTP/1.1 304",
    "host: a",
    "content-length: 3",
    "transfer-encoding: chunked",
    "connection: close",
    "connection: upgrade",
    "upgrade: x",
    "expect: 100-continue",
    "3",
    "abc",
    "0",
    "",
)
ENDS = st.sampled_from(
    [b"\r\n", b"\r\n", b"\r\n", b"\r\n\r\n", b"\n", b"\r", b" ", b":", b"\0", b""]
)
WORDS = st.builds(lambda line, end: line.encode() + end, st.sampled_from(LINES), ENDS)
PIECES = st.lists(st.lists(WORDS | st.binary(max_size=8), max_size=6).map(b"".join), max_size=8)
TEXT = PIECES.map(b"".join)
# As much as sockets give at once, and more of it than anybody may keep.
READ = 16_384
MUCH = 40 * READ
DETECT_WITHIN = READ
FIELDS = st.lists(
    st.sampled_from(
        [b"\x82", b"\xbe", b"\x20", b"\x3f\xe1\x1f", b"\x40\x01a\x01b", b"\x40\x01a\x7f\x80"]
    )
    | st.binary(max_size=6)
).map(b"".join)


@effort(150)
@given(TEXT, TEXT)
def test_more_bytes_never_change_what_a_connection_speaks(head: bytes, more: bytes) -> None:
    answer = detect(head)

    assert answer is None or detect(head + more) is answer
    if detect(head + more) is Protocol.HTTP2:
        assert b"PRI * HTTP/2.0" in head + more


@effort(100)
@given(TEXT)
def test_it_is_known_before_long_what_a_connection_speaks(said: bytes) -> None:
    assert detect((said or b"x") * DETECT_WITHIN) is not None


@effort(150)
@given(
    st.binary(max_size=12) | st.binary(max_size=8).map(lambda rest: b"\1" + rest),
    st.binary(max_size=8),
)
def test_a_transport_header_is_read_or_refused(data: bytes, more: bytes) -> None:
    def read(said: bytes) -> object:
        try:
            return header.read(said)
        except header.BadTransportHeader as error:
            return error.reason

    found = read(data)

    assert found is None or read(data + more) == found
    if isinstance(found, tuple):
        port, protocol, length = found
        assert (0 < port < 65_536, length <= len(data)) == (True, True)
        assert header.write(port, protocol)[: header.SIZE - 2] == data[: header.SIZE - 2]


@given(st.integers(1, 65_535), st.sampled_from(Protocol), st.binary(max_size=9))
def test_a_transport_header_is_read_as_it_was_written(
    port: int, protocol: Protocol, rest: bytes
) -> None:
    assert header.read(header.write(port, protocol) + rest) == (port, protocol, header.SIZE)


@effort(150)
@given(TEXT, st.sampled_from([UNKNOWN, 0, 3, 10**6]), st.booleans())
def test_heads_and_bodies_are_read_or_refused(said: bytes, length: int, chunked: bool) -> None:
    for read in (
        http1.find_head,
        http1.parse_request,
        http1.parse_trailers,
        lambda head: http1.parse_response(head, b"GET"),
        lambda data: reader(length, chunked=chunked).feed(data),
    ):
        with suppress(BadMessage):
            read(said)


@effort(150)
@given(st.lists(FIELDS | FIELDS.map(lambda block: block * 1000), max_size=6))
def test_header_blocks_are_read_or_refused(blocks: list[bytes]) -> None:
    blocks_read = BlockReader()
    with suppress(ConnectionBroken):
        for block in blocks:
            fields, size = blocks_read.read(block)
            held = sum(len(name) + len(value) + 32 for name, value in fields)
            assert held <= min(size, LIST_LIMIT)
            assert len(blocks_read._late) <= TABLE_SIZE // 32
            assert blocks_read._table._current_size <= TABLE_SIZE


NAMES = st.sampled_from(
    [
        b":method",
        b":path",
        b":scheme",
        b":authority",
        b":status",
        b"content-length",
        b"cookie",
        b"te",
    ]
)
VALUES = st.sampled_from(
    [b"GET", b"CONNECT", b"/", b"*", b"http", b"a:1", b"200", b"3", b"trailers"]
)


@effort(150)
@given(
    st.lists(st.tuples(NAMES | st.binary(max_size=5), VALUES | st.binary(max_size=5)), max_size=8),
    st.booleans(),
)
def test_header_lists_are_heads_or_malformed(fields: Headers, end: bool) -> None:
    for read in (
        lambda: http2.read_request(fields, end=end),
        lambda: http2.read_response(fields, end=end, method=b"GET"),
        lambda: http2.read_trailers(fields),
    ):
        with suppress(http2.Malformed):
            read()


class Host:
    """Serves a connection in one of several ways."""

    def __init__(self, how: list[str]) -> None:
        self.ended = Ended()
        self._how = how

    def serve(self, exchange: Exchange) -> None:
        self.ended.watch(exchange)
        how = self._how.pop() if self._how else "answer"
        if how == "refuse":
            exchange.refuse(MeshError())
            return
        exchange.attach(Application(exchange))
        if how == "answer":
            exchange.response(ResponseHead(200, [], body=UNKNOWN), b"hello", True, 0.0)
        elif how == "begin":
            exchange.response(ResponseHead(200, [], body=UNKNOWN), b"hello", False, 0.0)
        elif how == "hold":
            exchange.server.hold_request(True)

    def rejected(self, error: BadMessage) -> None:
        pass

    def closed(self, server: Server, *, detached: bool) -> None:
        pass

    def tunnel_closed(self) -> None:
        pass


@effort(100)
@given(PIECES, st.lists(st.sampled_from(["answer", "begin", "wait", "hold", "refuse"]), max_size=5))
def test_a_client_of_http1_may_say_anything(pieces: list[bytes], how: list[str]) -> None:
    with world() as loop:
        wire, host = MemoryStream(), Host(how)
        session = Http1Server(wire, host, loop.sweep)
        session.start()
        for piece in pieces:
            wire.hears(piece)
            loop.turn()
            assert len(session._buffer) < READ_AHEAD + 10_000
        _end(loop, wire)
        assert host.ended.all_once


@effort(100)
@given(PIECES, st.sampled_from([b"GET", b"HEAD", b"POST"]))
def test_an_endpoint_of_http1_may_say_anything(pieces: list[bytes], method: bytes) -> None:
    with world() as loop:
        wire, ended = MemoryStream(), Ended()
        session = Http1Client(wire, loop.sweep, lambda client: None, lambda client: None)
        for piece in pieces:
            if session.usable:
                exchange = asked(method)
                ended.watch(exchange)
                session.begin(exchange)
            wire.hears(piece)
            loop.turn()
        _end(loop, wire)
        assert ended.all_once


REQUEST = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n"
START = PREFACE + frames.settings({}) + frames.headers(1, write_block(POST), end=False)
FRAMES = st.builds(
    frames.frame, st.integers(0, 10), st.integers(0, 255), st.integers(0, 5), st.binary(max_size=40)
)


@effort(15)
@given(TEXT | st.binary(min_size=1, max_size=40) | FRAMES, st.booleans())
def test_whatever_is_said_again_and_again_is_not_kept(said: bytes, greeted: bool) -> None:
    """Neither by those who wait for a head, nor by those who read a body that nobody takes."""
    part = (said or b"x") * (READ // (len(said) or 1))
    for kind, start in ((Http1Server, REQUEST), (Http2Server, START)):
        with world() as loop:
            wire = MemoryStream()
            server = kind(wire, Host(["hold"] * 1000), loop.sweep)
            server.start()
            if greeted:
                wire.hears(start)
            for _ in range(MUCH // READ):
                wire.hears(part)
                loop.turn()
            assert len(server._buffer) < READ_AHEAD + 2 * READ
            _end(loop, wire)


@effort(15)
@given(TEXT | st.binary(min_size=1, max_size=40) | FRAMES, st.booleans())
def test_whatever_an_endpoint_says_again_and_again_is_not_kept(said: bytes, greeted: bool) -> None:
    part = (said or b"x") * (READ // (len(said) or 1))
    with world() as loop:
        one, two = MemoryStream(), MemoryStream()
        http1_client = Http1Client(one, loop.sweep, lambda client: None, lambda client: None)
        http2_client = Http2Client(two, loop.sweep, lambda client: None)
        http1_client.begin(asked())
        http2_client.carry(asked())
        if greeted:
            one.hears(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            two.hears(frames.settings({}) + frames.headers(1, write_block(OK), end=False))
        for _ in range(MUCH // READ):
            one.hears(part)
            two.hears(part)
            loop.turn()
            assert len(http1_client._buffer) < READ_AHEAD + 2 * READ
            assert len(http2_client._buffer) < 2 * READ
        one.breaks()
        two.breaks()
        loop.advance(15)
        assert not len(loop.sweep)


def asked(method: bytes = b"GET") -> Exchange:
    """A request on its way."""
    exchange = Exchange(RequestHead(method, b"/", b"a", []), Caller(), 0.0)
    exchange.request_done = method != b"POST"
    return exchange


def _end(loop: Loop, wire: MemoryStream) -> None:
    wire.breaks()
    loop.advance(15)
    assert not len(loop.sweep)
