"""The client side of HTTP/1.1: exchanges over one connection to an endpoint, one after the other."""

import asyncio
from collections.abc import Callable

from proxy.codec import http1
from proxy.codec.body import Body, reader
from proxy.codec.heads import UNKNOWN, BadMessage, Headers, ResponseHead
from proxy.refusals import BadResponse, ResponseLost
from proxy.session.exchange import Exchange
from proxy.session.memo import Memo
from proxy.transport.relay import Relay
from proxy.transport.sealed import began_before
from proxy.transport.stream import Stream, pause, resume
from proxy.transport.sweep import NEVER, Sweep
from proxy.transport.waiting import adopt

_VERSION = b"HTTP/1."


class Http1Client(asyncio.Protocol):
    """One connection to an endpoint. `released(client)` is called whenever it can take another exchange."""

    def __init__(
        self,
        stream: Stream,
        sweep: Sweep,
        released: Callable[["Http1Client"], None],
        lost: Callable[["Http1Client"], None],
    ) -> None:
        self._stream = stream
        self._sweep = sweep
        self._released = released
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._seen = 0
        """Bytes of the buffer in which the end of a head was looked for already."""
        self._clogged = False
        """The endpoint reads more slowly than it is written to."""
        self._heads: Memo[ResponseHead] = Memo()
        self._exchange: Exchange | None = None
        self._body: Body | None = None
        """The response's body, once its head has come."""
        self._chunked_request = False
        self._request_done = False
        self._keep_alive = True
        self._until_close = False
        self._leaving = False
        """It closes as soon as nothing is on its way."""
        self.used = False
        """It has carried an exchange before the current one."""
        self.deadline = NEVER
        sweep.add(self)
        if stream.is_closing():
            # It broke before it was ours, and will not tell us.
            self._loop.call_soon(self.connection_lost, None)
        if adopt(stream, self):
            # As in data_received: nothing was asked yet.
            stream.abort()
        resume(stream)

    def __repr__(self) -> str:
        return f"<Http1Client {self._exchange!r} used={self.used}>"

    @property
    def usable(self) -> bool:
        """Whether it can begin an exchange now."""
        return self._exchange is None and not self._stream.is_closing()

    def begin(self, exchange: Exchange, extra: Headers | tuple[()] = ()) -> None:
        """Send the request's head with `extra` fields, and carry the exchange from here on."""
        request = exchange.request
        self.deadline = NEVER
        self._exchange = exchange
        self._body = None
        self._request_done = False
        self._chunked_request = request.body == UNKNOWN
        self._seen = 0
        self._stream.write(http1.write_request(request, extra))
        exchange.attach(self)

    def close(self) -> None:
        """Close an idle connection."""
        self._stream.close()

    def began_before(self, revision: int) -> bool:
        """Whether its connection is one of mutual TLS that began under an older trust bundle."""
        return began_before(self._stream, revision)

    def drain(self) -> None:
        """Close when nothing is on its way."""
        self._leaving = True
        if self._exchange is None:
            self._stream.close()

    # From the exchange: see ClientSide.

    def send(self, data: bytes, end: bool) -> None:
        """Send some of the request's body, and its end if that is it."""
        if not self._chunked_request:
            self._stream.write(data)
        elif data:
            self._stream.write(http1.write_chunk(data))
        if end:
            self.finish([])

    def finish(self, trailers: Headers) -> None:
        """The request is complete."""
        self._request_done = True
        if self._chunked_request:
            self._stream.write(http1.write_last_chunk(trailers))

    def cancel(self) -> None:
        """Nobody waits for the response: there is no way to say so but to leave."""
        self._exchange = None
        self._stream.abort()

    def hold_response(self, held: bool) -> None:
        """Leave the rest of the response in the socket for now, or go on."""
        if held:
            pause(self._stream)
        else:
            resume(self._stream)

    # From the connection.

    def data_received(self, data: bytes) -> None:
        """Bytes from the endpoint."""
        if self._exchange is None:
            # RFC 9112 §9.2: nothing was asked, so this is no answer to anything.
            self._stream.abort()
            return
        data = self._buffer + data if self._buffer else data
        self._buffer = b""
        try:
            self._read(self._exchange, data)
        except BadMessage as error:
            self._fail(BadResponse(error.word))

    def eof_received(self) -> bool:
        """The endpoint writes no more; for a body without other framing that is its end."""
        exchange = self._exchange
        if exchange is not None and self._body is not None and self._until_close:
            self._exchange = None
            exchange.response_end([])
        self._stream.close()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The endpoint is gone."""
        self._sweep.discard(self)
        self._lost(self)
        self._fail(ResponseLost(str(error or "closed")))

    def pause_writing(self) -> None:
        """The endpoint reads slowly."""
        self._clogged = True
        if self._exchange is not None:
            self._exchange.server.hold_request(True)

    def resume_writing(self) -> None:
        """The endpoint has caught up."""
        self._clogged = False
        if self._exchange is not None:
            self._exchange.server.hold_request(False)

    def expired(self) -> None:
        """Idle for too long."""
        self.deadline = NEVER
        self._stream.close()

    def _read(self, exchange: Exchange, data: bytes) -> None:
        if self._body is None:
            self._read_head(exchange, data)
            return
        payload, self._buffer, ended = self._body.feed(data)
        if not ended:
            if payload:
                exchange.response_data(payload)
            return
        trailers = self._body.trailers
        self._leave(exchange)
        exchange.response_data(payload, not trailers)
        if trailers:
            exchange.response_end(trailers)

    def _read_head(self, exchange: Exchange, data: bytes) -> None:
        """Read heads up to the final one, and the body as far as it came along."""
        while True:
            length = http1.find_head(data, self._seen)
            if not length:
                if not data.startswith(_VERSION[: len(data)]):
                    # Its end may never come, and nobody need wait for that.
                    raise BadMessage("bad-start-line")
                self._buffer, self._seen = data, len(data)
                return
            raw, method = data[:length], exchange.request.method
            head = self._heads.get(raw, method == b"HEAD") if method != b"CONNECT" else None
            if head is None:
                head = http1.parse_response(raw, method)
                if method != b"CONNECT":
                    self._heads.put(raw, method == b"HEAD", head)
            data, self._seen = data[length:], 0
            if head.status == 101 or (
                exchange.request.method == b"CONNECT" and 200 <= head.status < 300
            ):
                # RFC 9110 §7.8: not unasked, and not before the request is complete.
                if not self._request_done or (head.status == 101 and not exchange.request.upgrade):
                    raise BadMessage("upgrade-not-asked-for")
                self._tunnel(exchange, head, data)
                return
            if head.status >= 200:
                break
            exchange.informational(head)
        self._keep_alive = head.keep_alive
        self._until_close = head.until_close
        body = reader(head.body, chunked=not head.until_close)
        payload, self._buffer, ended = body.feed(data)
        self._body = body
        if ended:
            self._leave(exchange)
        whole = ended and not body.trailers
        exchange.response(head, payload, whole, self._loop.time())
        if ended and not whole:
            exchange.response_end(body.trailers)

    def _leave(self, exchange: Exchange) -> None:
        """The response is complete: be ready for the next request, or close."""
        self._exchange = None
        self._body = None
        exchange.client = None
        if (
            self._keep_alive
            and self._request_done
            and not self._buffer
            and not self._clogged
            and not self._leaving
            and not self._stream.is_closing()
        ):
            self.used = True
            resume(self._stream)
            self._released(self)
        else:
            self._stream.close()

    def _tunnel(self, exchange: Exchange, head: ResponseHead, early: bytes) -> None:
        self._sweep.discard(self)
        self._exchange = None
        self._lost(self)
        pause(self._stream)
        other, ahead = exchange.tunnel(head, self._loop.time())
        relay = Relay(other, self._stream, exchange.tunnel_ended)
        relay.start(ahead, early, clogged=(exchange.held_response, self._clogged))

    def _fail(self, error: BadResponse | ResponseLost) -> None:
        exchange, self._exchange = self._exchange, None
        if not self._stream.is_closing():
            self._stream.abort()
        if exchange is not None:
            exchange.response_failed(error)
