"""The client side of HTTP/2: many exchanges at a time over one connection to an endpoint (RFC 9113)."""

from collections.abc import Callable

from proxy.codec import http2
from proxy.codec.frames import (
    LARGEST_WINDOW,
    PREFACE,
    Code,
    ConnectionBroken,
    Setting,
    StreamBroken,
)
from proxy.codec.header_blocks import LIST_LIMIT, write_block
from proxy.codec.heads import UNKNOWN, Headers, ResponseHead
from proxy.codec.http2 import Malformed
from proxy.refusals import (
    BadResponse,
    ConnectFailed,
    NotProcessed,
    Overloaded,
    Refusal,
    ResponseLost,
    ResponseReset,
    TooSlow,
)
from proxy.session.exchange import Exchange
from proxy.session.http2_connection import PING_SECONDS, Heads, Http2Connection
from proxy.session.http2_stream import Http2Stream
from proxy.session.memo import Memo
from proxy.session.own_code import own_code
from proxy.transport.stream import Stream, resume
from proxy.transport.sweep import Sweep
from proxy.transport.tls import Tls
from proxy.transport.waiting import adopt

UNREACHED = Code.CONNECT_ERROR
"""With this a proxy resets a stream of which nothing was sent: it cannot connect to its application."""
IDLE_SECONDS = 60.0
"""A connection without streams is kept for so long."""
MOST_STREAMS = 1024
"""Streams on one connection, even if the endpoint allows more."""
_HEAD_FIRST = UNKNOWN - 1
"""In the place of a body's length: there cannot be a body yet."""


@own_code
class Http2Client(Http2Connection["ClientStream"]):
    """One connection to an endpoint. `lost(client)` is called once, when no exchange can begin on it."""

    __slots__ = (
        "_heads",
        "_lost",
        "_next",
        "_tails",
        "_used_at",
        "holding",
    )

    serves = False

    def __init__(self, stream: Stream, sweep: Sweep, lost: Callable[["Http2Client"], None]) -> None:
        super().__init__(stream, sweep)
        self._lost: Callable[[Http2Client], None] | None = lost
        self._heads: Heads[ResponseHead] = Memo()
        self._tails: Heads[Headers] = Memo()
        self._next = 1
        self.holding: ClientStream | None = None
        """The stream whose head came last, in case that some of its body comes along."""
        self._used_at = self.now
        early = adopt(stream, self)
        self.begin({Setting.ENABLE_PUSH: 0}, PREFACE)
        # Later, as the loop would tell it: nobody knows of this session yet.
        if early:
            self._loop.call_soon(self.data_received, early)
        if stream.is_closing():
            # It broke before it was ours, and will not tell us.
            self._loop.call_soon(self.connection_lost, None)
        resume(stream)

    def data_received(self, data: bytes) -> None:
        """Bytes from the endpoint; a head and the body that came along go on together."""
        self.take(data)
        if self.holding is not None:
            self.holding.let_go()

    @property
    def opened(self) -> int:
        """See Http2Connection."""
        return self._next >> 1

    @property
    def usable(self) -> bool:
        """Whether one more exchange can begin now."""
        return (
            self._lost is not None
            and len(self.streams) < self.most_streams
            and len(self.streams) < MOST_STREAMS
            and not self._stream.is_closing()
        )

    @property
    def to_proxy(self) -> bool:
        """Whether the endpoint is another proxy: those are the ones behind TLS."""
        return isinstance(self._stream, Tls)

    def carry(self, exchange: Exchange, extra: Headers | tuple[()] = ()) -> None:
        """Send the request's head with `extra` fields, and carry the exchange from here on."""
        number = self._next
        self._next = number + 2
        if number + 2 > LARGEST_WINDOW:
            self._retire()
        self._used_at = self.now
        stream = self.streams[number] = ClientStream(self, number, _HEAD_FIRST)
        stream.exchange = exchange
        stream.responded = False
        stream.held = None
        request = exchange.request
        cached = request.block
        if cached is not None and cached[0] is extra:
            block = cached[1]
        else:
            block = write_block(http2.request_fields(request, extra))
            request.block = (extra, block)
        end = exchange.request_done and not exchange.pending and not exchange.trailers
        self.send_block(number, block, end)
        stream.local_closed = end
        exchange.attach(stream)

    def drain(self) -> None:
        """Begin nothing new, and close when what is open is done."""
        self._retire()
        self.leaving = True
        if not self.streams:
            self.close()

    def look(self, now: float) -> float:
        """Is this connection used?"""
        if self.streams:
            self._used_at = now
        elif now >= self._used_at + IDLE_SECONDS:
            self._retire()
            self.go_away(0, Code.NO_ERROR)
            self.close()
        return self._used_at + IDLE_SECONDS

    def keep_alive(self, now: float) -> float:
        """See Http2Connection. Only proxies are asked, who are behind TLS.

        Servers of gRPC take their leave of whoever asks more often than every five minutes, and take the
        calls with them that have nothing to say meanwhile. TCP's own keep-alive watches over those hosts.
        """
        if self.to_proxy:
            return super().keep_alive(now)
        return now + PING_SECONDS

    def is_idle(self, stream: int) -> bool:
        """See Http2Connection: only we open streams."""
        return stream >= self._next or not stream & 1

    def headers(self, stream: int, block: bytes, end: bool) -> None:
        """A response's head, interim or final, or its trailers."""
        found = self.streams.get(stream)
        if found is None or found.remote_closed:
            self.read_block(block)
            self._closed(stream, found)
            return
        if found.responded:
            self._trailers(found, block, end=end)
            return
        head = None
        if found.exchange.request.method != b"HEAD":
            # A response to HEAD says of a body what another would, but has none.
            head = self.known(self._heads, block, end)
        if head is None:
            head = self._read_head(found, block, end=end)
        found.response(head, end=end)

    def _read_head(self, stream: "ClientStream", block: bytes, *, end: bool) -> ResponseHead:
        fields, size = self.read_block(block)
        if size > LIST_LIMIT:
            raise StreamBroken(stream.id, Code.PROTOCOL_ERROR, "header-list-size")
        method = stream.exchange.request.method
        try:
            head = http2.read_response(fields, end=end, method=method)
        except Malformed as error:
            raise StreamBroken(stream.id, Code.PROTOCOL_ERROR, error.word) from None
        if method != b"HEAD" and head.status >= 200:
            self.remember(self._heads, block, end, head, size)
        return head

    def _trailers(self, stream: "ClientStream", block: bytes, *, end: bool) -> None:
        trailers = self.known(self._tails, block, end)
        if trailers is None:
            fields, size = self.read_block(block)
            if size > LIST_LIMIT or not end:
                raise StreamBroken(stream.id, Code.PROTOCOL_ERROR, "trailers")
            try:
                trailers = http2.read_trailers(fields)
            except Malformed as error:
                raise StreamBroken(stream.id, Code.PROTOCOL_ERROR, error.word) from None
            self.remember(self._tails, block, end, trailers, size)
        stream.ended()
        if stream.held is not None:
            stream.let_go()
        stream.complete()
        stream.exchange.response_end(trailers)

    def peer_left(self, last: int) -> None:
        """The endpoint drains: what it will not look at can be done elsewhere."""
        self._retire()
        for stream in [stream for number, stream in self.streams.items() if number > last]:
            self.forget(stream)
            stream.was_reset(Code.REFUSED_STREAM)

    def end(self, error: Exception | None) -> None:
        """See Http2Connection."""
        # First, so that nothing is tried again here.
        self._retire()
        super().end(error)

    def _retire(self) -> None:
        lost, self._lost = self._lost, None
        if lost is not None:
            lost(self)


@own_code
class ClientStream(Http2Stream):
    """One exchange on its way: see ClientSide."""

    __slots__ = ("exchange", "held", "responded")

    connection: Http2Client
    exchange: Exchange
    responded: bool
    """The final head has come."""
    held: ResponseHead | None
    """It goes on with the beginning of the body, if that came along."""

    def response(self, head: ResponseHead, *, end: bool) -> None:
        """A head has come."""
        if head.status < 200:
            self.connection.chore()
            self.exchange.informational(head)
            return
        self.responded = True
        self._expected = head.body
        if end:
            self._close_remote()
            self.complete()
            self.exchange.response(head, b"", True, self.connection.now)
        else:
            connection = self.connection
            if connection.holding is not None:
                connection.holding.let_go()
            connection.holding = self
            self.held = head

    def body(self, data: bytes, end: bool) -> None:
        """Some of the response's body."""
        exchange = self.exchange
        if end:
            self.complete()
        head = self.held
        if head is None:
            exchange.response_data(data, end)
        else:
            connection = self.connection
            self.held = connection.holding = None
            exchange.response(head, data, end, connection.now)

    def let_go(self) -> None:
        """Nothing of the body came along with the head."""
        head = self.held
        if head is not None:
            connection = self.connection
            self.held = connection.holding = None
            self.exchange.response(head, b"", False, connection.now)

    def complete(self) -> None:
        """The response has ended: whatever is left of the request is not wanted."""
        self.exchange.client = None
        if not self.local_closed:
            self.abandon(Code.NO_ERROR)

    def cancel(self) -> None:
        """Nobody waits for the response any more."""
        self.abandon(Code.CANCEL)

    def hold_response(self, held: bool) -> None:
        """Give the endpoint no new window, or give it again."""
        self.hold(held)

    def hold_source(self, held: bool) -> None:
        """The endpoint reads slowly."""
        self.exchange.server.hold_request(held)

    def was_reset(self, code: int) -> None:
        """The endpoint, or a mistake of the endpoint's, ended the stream."""
        self.local_closed = True
        self.let_go()
        error: Refusal
        if code == Code.REFUSED_STREAM and not self.responded:
            error = NotProcessed("the endpoint refused the stream")
        elif code == UNREACHED and not self.responded and self.connection.to_proxy:
            error = ConnectFailed("the endpoint's proxy cannot connect to it")
        elif code == Code.PROTOCOL_ERROR and not self.responded:
            error = BadResponse("malformed")
        else:
            error = ResponseReset(code)
        self.exchange.response_failed(error)

    def lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self.local_closed = True
        self.let_go()
        broken = isinstance(error, ConnectionBroken)
        self.exchange.response_failed(
            BadResponse(str(error)) if broken else ResponseLost(str(error or "closed"))
        )

    def stalled(self) -> None:
        """The endpoint takes no more of the request."""
        self.let_go()
        self.exchange.response_failed(TooSlow("takes no more of the request"))

    def overflowed(self) -> None:
        """The endpoint takes less of the request than comes."""
        self.let_go()
        self.exchange.response_failed(Overloaded("too much waits for slow endpoints"))
