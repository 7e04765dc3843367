"""The server side of HTTP/2: requests from one client connection, many at a time (RFC 9113)."""

import math
from collections import deque

from common.errors import MeshError
from proxy.codec import frames, http2
from proxy.codec.frames import (
    LARGEST_WINDOW,
    PREFACE,
    Code,
    ConnectionBroken,
    Setting,
    StreamBroken,
)
from proxy.codec.header_blocks import LIST_LIMIT, write_block
from proxy.codec.heads import BadMessage, RequestHead, ResponseHead
from proxy.codec.http2 import Malformed
from proxy.decide.answer import answer
from proxy.refusals import Overloaded
from proxy.session.exchange import Exchange
from proxy.session.host import Host
from proxy.session.http2_connection import STREAMS_LIMIT, Heads, Http2Connection
from proxy.session.http2_stream import Http2Stream
from proxy.session.memo import Memo
from proxy.session.own_code import own_code
from proxy.transport.stream import Stream, end, resume, untaken
from proxy.transport.sweep import NEVER, Sweep
from proxy.transport.waiting import adopt

_ALL_STREAMS = LARGEST_WINDOW
_NOTICE_SECONDS = 1.0
"""Between the first GOAWAY, which only warns, and the one that names the last stream (§6.8)."""
_LINGER_SECONDS = 2.0
"""Of silence, and of nothing taken, after which a client that was told the end is thought to be gone."""
_SKIPS_LIMIT = 64
_SETTINGS = {
    Setting.MAX_CONCURRENT_STREAMS: STREAMS_LIMIT,
    Setting.MAX_HEADER_LIST_SIZE: LIST_LIMIT,
}


@own_code
class Http2Server(Http2Connection["ServerStream"]):
    """One client connection. `host` is given each request."""

    __slots__ = (
        "_begun",
        "_draining",
        "_heads",
        "_host",
        "_last_stream",
        "_preface",
        "_skipped",
        "_untaken",
        "_warned_at",
    )

    serves = True

    def __init__(self, stream: Stream, host: Host, sweep: Sweep) -> None:
        super().__init__(stream, sweep)
        self._host = host
        self._heads: Heads[RequestHead] = Memo()
        self._skipped: deque[range] = deque(maxlen=_SKIPS_LIMIT)
        """Streams that the client passed over, and cannot open any more."""
        self._preface = PREFACE
        self._last_stream = _ALL_STREAMS
        """What our GOAWAY named: streams above it are not looked at."""
        self._begun = self._draining = False
        self._warned_at = 0.0
        self._untaken: float = math.inf
        """Bytes that the client had still to take when somebody looked while the connection lingered."""

    @property
    def opened(self) -> int:
        """See Http2Connection."""
        return self.largest_peer_stream >> 1

    def start(self, early: bytes = b"") -> None:
        """Begin, with what was read from the connection already."""
        early += adopt(self._stream, self)
        self._begun = True
        self.begin(_SETTINGS)
        if self._draining:
            self._warn()
        if self._stream.is_closing():
            # It broke before it was ours, and will not tell us.
            self._loop.call_soon(self.connection_lost, None)
        elif early:
            self.data_received(early)
        resume(self._stream)

    def drain(self) -> None:
        """Ask the client to go elsewhere; what is on its way is finished."""
        if not self._draining:
            self._draining = True
            if self._begun:
                self._warn()

    def _warn(self) -> None:
        self._warned_at = self._loop.time()
        self.write(frames.goaway(_ALL_STREAMS, Code.NO_ERROR))
        self.deadline = min(self.deadline, self._warned_at + _NOTICE_SECONDS)

    def cut_off(self, error: MeshError) -> None:
        """Close now; what has no response yet gets this one."""
        for stream in list(self.streams.values()):
            stream.exchange.refuse(error)
        self.go_away(self.largest_peer_stream, Code.NO_ERROR)
        self.close()

    def peer_left(self, last: int) -> None:
        """The client leaves. If it has all that it asked for, it has a moment to close by itself."""
        self.deadline = min(self.deadline, self.now + _NOTICE_SECONDS)

    def emptied(self) -> None:
        """Say that nothing more follows, and hear the client out until it closes.

        Were the connection closed at once, whatever the client still says (that it takes more, say) would
        meet a closed socket and reset it, and what was on its way would be lost.
        """
        self._flush()
        end(self._stream)
        self.lingers = True
        self.deadline = min(self.deadline, self._loop.time() + _LINGER_SECONDS)

    def _linger(self, now: float) -> float:
        """Close once the client has taken everything, or no more of it, and says nothing."""
        before, self._untaken = self._untaken, untaken(self._stream)
        if 0 < self._untaken < before or now < self._heard_at + _LINGER_SECONDS:
            return now + _LINGER_SECONDS
        self.close()
        return NEVER

    def look(self, now: float) -> float:
        """A client that was asked to go has had the time to hear it? One that leaves, to close?"""
        if self.lingers:
            return self._linger(now)
        if self.left and not self.streams:
            self.close()
            return NEVER
        if not self._warned_at or self.leaving:
            return NEVER
        if now < self._warned_at + _NOTICE_SECONDS:
            return self._warned_at + _NOTICE_SECONDS
        self._last_stream = self.largest_peer_stream
        self.go_away(self._last_stream, Code.NO_ERROR)
        if not self.streams:
            self.emptied()
        return _LINGER_SECONDS + now

    def data_received(self, data: bytes) -> None:
        """Bytes from the client; the first must be the preface (§3.4)."""
        if self.lingers:
            self._heard_at = self._loop.time()
            return
        if not self._preface:
            self.take(data)
            return
        data = self._buffer + data
        expected = self._preface
        if data[: len(expected)] != expected[: len(data)]:
            self._break(ConnectionBroken(Code.PROTOCOL_ERROR, "preface"))
            return
        if len(data) < len(expected):
            self._buffer = data
            return
        self._buffer, self._preface = b"", b""
        self.take(data[len(expected) :])

    def is_idle(self, stream: int) -> bool:
        """See Http2Connection."""
        return stream > self.largest_peer_stream or not stream & 1

    def headers(self, stream: int, block: bytes, end: bool) -> None:
        """A request's head, or the trailers of one."""
        if stream <= self.largest_peer_stream:
            self._not_new(stream, block, end=end)
            return
        if not stream & 1:
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "even-stream")
        if stream != self.largest_peer_stream + 2:
            self._skipped.append(range(self.largest_peer_stream + 1, stream))
        self.largest_peer_stream = stream
        head = self.known(self._heads, block, end)
        if head is None:
            head = self._read_head(stream, block, end=end)
            if head is None:
                return
        if len(self.streams) >= STREAMS_LIMIT:
            raise StreamBroken(stream, Code.REFUSED_STREAM, "too-many-streams")
        if stream > self._last_stream:
            # §6.8: our GOAWAY said so.
            self.expect_more(stream)
            return
        opened = ServerStream(self, stream, head.body)
        self.streams[stream] = opened
        exchange = opened.exchange = Exchange(head, opened, self.now)
        if end:
            opened.remote_closed = exchange.request_done = True
        self._host.serve(exchange)

    def _read_head(self, stream: int, block: bytes, *, end: bool) -> RequestHead | None:
        """Read a head that was not seen lately; None if the request is already answered."""
        fields, size = self.read_block(block)
        if size > LIST_LIMIT:
            self._too_large(stream, end=end)
            return None
        try:
            head = http2.read_request(fields, end=end)
        except Malformed as error:
            self._host.rejected(BadMessage(error.word))
            raise StreamBroken(stream, Code.PROTOCOL_ERROR, error.word) from None
        self.remember(self._heads, block, end, head, size)
        return head

    def _not_new(self, stream: int, block: bytes, *, end: bool) -> None:
        """A header block on a stream that was opened, or passed over, before."""
        fields, size = self.read_block(block)
        found = self.streams.get(stream)
        if found is None:
            if stream in self._recent:
                self.chore()
                return
            # §5.1.1: a stream that was passed over is closed, too, but never was open.
            skipped = any(stream in streams for streams in self._skipped)
            code = Code.PROTOCOL_ERROR if skipped else Code.STREAM_CLOSED
            raise ConnectionBroken(code, "closed-stream")
        if found.remote_closed:
            raise StreamBroken(stream, Code.STREAM_CLOSED, "closed-stream")
        if not end or size > LIST_LIMIT:
            raise StreamBroken(stream, Code.PROTOCOL_ERROR, "trailers")
        try:
            trailers = http2.read_trailers(fields)
        except Malformed as error:
            raise StreamBroken(stream, Code.PROTOCOL_ERROR, error.word) from None
        found.ended()
        found.exchange.request_end(trailers)

    def _too_large(self, stream: int, *, end: bool) -> None:
        error = BadMessage("head-too-long", 431)
        self._host.rejected(error)
        self.send_block(stream, write_block(http2.response_fields(answer(None, error))), True)
        if end:
            self.chore()
        else:
            self.reset(stream, Code.NO_ERROR)
            self._count_reset()

    def over(self) -> None:
        """See Http2Connection."""
        self._host.closed(self, detached=False)


@own_code
class ServerStream(Http2Stream):
    """One request: see ServerSide."""

    __slots__ = ("exchange",)

    exchange: Exchange

    def respond(self, head: ResponseHead, data: bytes, end: bool) -> None:
        """Send the final head with what came of the body."""
        if self.local_closed:
            return
        block = head.block
        if block is None:
            block = head.block = write_block(http2.response_fields(head))
        bare = end and not data
        self.connection.send_block(self.id, block, bare)
        if bare:
            self._close_local()
        elif data:
            self.send(data, end)

    def inform(self, head: ResponseHead) -> None:
        """Send an interim response."""
        self.connection.send_block(self.id, write_block(http2.response_fields(head)), False)

    def break_off(self, code: int) -> None:
        """The response cannot be completed; NO_ERROR would say that nothing is missing."""
        known = code in Code.__members__.values() and code != Code.NO_ERROR
        self.abandon(Code(code) if known else Code.INTERNAL_ERROR)

    def detach(self) -> tuple[Stream, bytes]:
        """Tunnels are HTTP/1.1's; a stream is never one, because CONNECT is refused on it."""
        raise NotImplementedError

    def tunnel_closed(self) -> None:
        """See detach."""

    def hold_request(self, held: bool) -> None:
        """Give the client no new window, or give it again."""
        self.hold(held)

    def _close_local(self) -> None:
        self.local_closed = True
        connection = self.connection
        if not self.remote_closed and connection.streams.get(self.id) is self:
            # RFC 9113 §8.1: the response is complete, and nobody reads the rest of the request.
            connection.reset(self.id, Code.NO_ERROR)
        connection.forget(self)

    def body(self, data: bytes, end: bool) -> None:
        """Some of the request's body."""
        self.exchange.request_data(data, end)

    def hold_source(self, held: bool) -> None:
        """The client reads slowly."""
        self.exchange.hold_response(held)

    def was_reset(self, code: int) -> None:
        """The client does not want the response any more."""
        self.local_closed = True
        self.exchange.request_lost()

    def lost(self, error: Exception | None) -> None:
        """The client is gone."""
        self.local_closed = True
        self.exchange.request_lost()

    def stalled(self) -> None:
        """The client is as good as gone."""
        self.exchange.request_lost()

    def overflowed(self) -> None:
        """The client reads too slowly for what it asks for."""
        self.exchange.error = self.exchange.error or Overloaded("too much waits for slow clients")
        self.exchange.request_lost()
