"""The server side of HTTP/1.1: requests from one client connection, one after the other.

Input that is pipelined waits, bounded, until the response before it is complete. What is not strictly
HTTP is answered with 400 and the connection closed, because nobody knows where the next message begins.
"""

import asyncio
import re

from common.errors import MeshError
from proxy.codec import http1
from proxy.codec.body import Body, reader
from proxy.codec.frames import Code
from proxy.codec.heads import UNKNOWN, BadMessage, Headers, RequestHead, ResponseHead
from proxy.decide.answer import answer
from proxy.session.exchange import Exchange
from proxy.session.host import Host
from proxy.session.memo import Memo
from proxy.transport.sealed import began_before
from proxy.transport.stream import Stream, end, pause, reset, resume
from proxy.transport.sweep import NEVER, Sweep
from proxy.transport.waiting import adopt

READ_AHEAD = 64 * 1024
"""Bytes of pipelined requests kept while a response is on its way."""
HEAD_SECONDS = 10.0
"""From the first byte of a head to its last."""
IDLE_SECONDS = 600.0
"""Between requests."""
NOTICE_SECONDS = 1.0
"""A client that is idle when we leave may be about to send: it has so long to hear it with an answer."""
LINGER_SECONDS = 2.0
"""For a client to read the last response before its unread request is answered with a reset."""
HALF_CLOSED_SECONDS = 5.0
"""A client that writes no more may still read, but most have left: it is taken for gone after so long
without anything that could be sent to it."""
_EMPTY_LINES = re.compile(rb"(?:\r\n)+")


class Http1Server(asyncio.Protocol):
    """One client connection. `host` is given each request."""

    def __init__(self, stream: Stream, host: Host, sweep: Sweep) -> None:
        self._stream = stream
        self._host = host
        self._sweep = sweep
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._seen = 0
        """Bytes of the buffer in which the end of a head was looked for already."""
        self._heads: Memo[RequestHead] = Memo()
        self._exchange: Exchange | None = None
        self._body: Body | None = None
        """The request's body, while it has not ended."""
        self._awaits_body = False
        """The client waits for word before it sends its body (RFC 9110 §10.1.1)."""
        self._chunked = False
        self._clogged = False
        """The client reads more slowly than it is written to."""
        self._at_end = False
        """The client writes no more."""
        self._sent = 0
        """Bytes of the response that had come when the client was last taken for one that reads."""
        self._close_after = False
        self._draining = False
        self._lingering = False
        self.deadline = NEVER

    def __repr__(self) -> str:
        return f"<Http1Server {self._exchange!r} buffered={len(self._buffer)}>"

    def start(self, early: bytes = b"") -> None:
        """Begin, with what was read from the connection already."""
        early += adopt(self._stream, self)
        self._sweep.add(self)
        self.deadline = self._loop.time() + IDLE_SECONDS
        if self._stream.is_closing():
            # It broke before it was ours, and will not tell us.
            self._loop.call_soon(self.connection_lost, None)
        elif early:
            self.data_received(early)
        resume(self._stream)

    def began_before(self, revision: int) -> bool:
        """Whether its connection is one of mutual TLS that began under an older trust bundle."""
        return began_before(self._stream, revision)

    def drain(self) -> None:
        """Close with the next response, or when none is asked for any more."""
        self._draining = True
        if self._exchange is None and not self._buffer and not self._lingering:
            self.deadline = min(self.deadline, self._loop.time() + NOTICE_SECONDS)

    def cut_off(self, error: MeshError) -> None:
        """Close now; what has no response yet gets this one."""
        self._draining = True
        if self._exchange is not None:
            self._exchange.refuse(error)
        self._stream.close()

    # From the connection.

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._lingering:
            return
        self._buffer = self._buffer + data if self._buffer else data
        try:
            self._read()
        except BadMessage as error:
            self._reject(error)

    def eof_received(self) -> bool:
        """The client writes no more: it may still wait for a response (RFC 9112 §9.6)."""
        if self._at_end:
            # A stream that is read again says it again.
            return True
        nothing_due = self._exchange is None and not self._buffer
        if nothing_due or self._body is not None or self._lingering:
            self._stream.close()
            return False
        self._at_end = True
        if self._exchange is not None:
            self._sent = self._exchange.bytes_out
            self.deadline = self._loop.time() + HALF_CLOSED_SECONDS
        self._loop.call_soon(self._continue)
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """The client is gone."""
        self._sweep.discard(self)
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.request_lost()
        self._host.closed(self, detached=False)

    def pause_writing(self) -> None:
        """The client reads slowly."""
        self._clogged = True
        if self._exchange is not None:
            self._exchange.hold_response(True)

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._clogged = False
        if self._exchange is not None:
            self._exchange.hold_response(False)
        else:
            self._go_on()

    def expired(self) -> None:
        """Too long without what should have come."""
        exchange, self.deadline = self._exchange, NEVER
        if exchange is not None:
            self._doubt(exchange)
        elif self._buffer and not self._lingering:
            self._reject(BadMessage("head-too-slow", 408))
        else:
            self._stream.close()

    def _doubt(self, exchange: Exchange) -> None:
        """The client writes no more: as long as it is sent something, it is the socket that knows of it."""
        if self._clogged or exchange.bytes_out > self._sent:
            self._sent = exchange.bytes_out
            self.deadline = self._loop.time() + HALF_CLOSED_SECONDS
        else:
            reset(self._stream)

    # Requests.

    def _read(self) -> None:
        while self._buffer and not self._lingering and not self._stream.is_closing():
            if self._body is not None:
                self._read_body(self._body)
                if self._body is not None:
                    break
            elif self._exchange is None and not self._clogged:
                if not self._read_head():
                    break
            else:
                # While it does not read its answers it is given no more: they would pile up.
                if len(self._buffer) >= READ_AHEAD:
                    pause(self._stream)
                return
        if self._at_end and (self._body is not None or self._exchange is None):
            # What is missing will never come.
            self._stream.close()

    def _read_head(self) -> bool:
        """Begin the next exchange; false if its head is not all there."""
        if self._buffer.startswith(b"\r\n"):
            # RFC 9112 §2.2: empty lines before a request are to be ignored.
            empty = _EMPTY_LINES.match(self._buffer)
            assert empty is not None
            self._buffer, self._seen = self._buffer[empty.end() :], 0
        length = http1.find_head(self._buffer, self._seen)
        if not length:
            self._seen = len(self._buffer)
            if self._buffer and self.deadline > self._loop.time() + HEAD_SECONDS:
                self.deadline = self._loop.time() + HEAD_SECONDS
            return False
        raw = self._buffer[:length]
        head = self._heads.get(raw, True)
        if head is None:
            head = http1.parse_request(raw)
            self._heads.put(raw, True, head)
        self._buffer, self._seen = self._buffer[length:], 0
        now, self._sent = self._loop.time(), 0
        self.deadline = now + HALF_CLOSED_SECONDS if self._at_end else NEVER
        self._close_after = self._draining or not head.keep_alive
        self._awaits_body = head.expects_continue
        exchange = self._exchange = Exchange(head, self, now)
        if head.body:
            self._body = reader(head.body, chunked=True)
        else:
            exchange.request_done = True
        self._host.serve(exchange)
        return True

    def _read_body(self, body: Body) -> None:
        payload, self._buffer, ended = body.feed(self._buffer)
        exchange = self._exchange
        if exchange is not None and not exchange.done:
            if ended:
                self._body = None
            if ended and (body.trailers or not payload):
                if payload:
                    exchange.request_data(payload)
                exchange.request_end(body.trailers)
            elif payload:
                exchange.request_data(payload, ended)
        elif ended:
            self._body = None

    def _reject(self, error: BadMessage) -> None:
        """Say what is wrong with the input and close: where a next message begins is anybody's guess."""
        self._host.rejected(error)
        self._body = None
        self._close_after = True
        exchange = self._exchange
        if exchange is None:
            head = answer(None, error)
            self._stream.write(http1.write_response(head, chunked=False, connection=b"close"))
            self._linger()
        elif exchange.response_started:
            self.break_off(Code.PROTOCOL_ERROR)
        else:
            exchange.refuse(error)
            if exchange.client is not None:
                exchange.client.cancel()

    # Responses: see ServerSide.

    def respond(self, head: ResponseHead, data: bytes, end: bool) -> None:
        """Send the final head with what came of the body."""
        exchange = self._exchange
        assert exchange is not None
        request = exchange.request
        if self._draining or (self._at_end and not self._buffer):
            self._close_after = True
        if self._body is not None and (end or self._awaits_body):
            # RFC 9110 §10.1.1: will the client still send its body? Then its next request is hard to tell.
            self._close_after = True
        self._chunked = head.body == UNKNOWN and request.minor == 1
        if head.body == UNKNOWN and not self._chunked:
            self._close_after = True
        connection = b""
        if self._close_after:
            connection = b"close"
        elif request.minor == 0:
            connection = b"keep-alive"
        written = http1.write_response(head, chunked=self._chunked, connection=connection)
        if data:
            written += http1.write_chunk(data) if self._chunked else data
        if end and self._chunked:
            written += http1.write_last_chunk()
        self._stream.write(written)
        if end:
            self._response_ended()

    def inform(self, head: ResponseHead) -> None:
        """Send an interim response; HTTP/1.0 knows none (RFC 9110 §15.2)."""
        if self._exchange is not None and self._exchange.request.minor == 1:
            if head.status == 100:
                self._awaits_body = False
            self._stream.write(http1.write_response(head, chunked=False))

    def send(self, data: bytes, end: bool) -> None:
        """Send some of the body, and its end if that is it."""
        if not self._chunked:
            self._stream.write(data)
        elif data:
            self._stream.write(http1.write_chunk(data))
        if end:
            self.finish([])

    def finish(self, trailers: Headers) -> None:
        """The body is complete."""
        if self._chunked:
            self._stream.write(http1.write_last_chunk(trailers))
        self._response_ended()

    def break_off(self, code: int) -> None:
        """Reset the connection: nothing else tells a client that a body is not complete."""
        reset(self._stream)

    def detach(self) -> tuple[Stream, bytes]:
        """Give up the connection, for a tunnel."""
        self._sweep.discard(self)
        self.deadline = NEVER
        self._exchange = None
        early, self._buffer = self._buffer, b""
        pause(self._stream)
        self._stream.set_protocol(_Deaf())
        self._host.closed(self, detached=True)
        return self._stream, early

    def tunnel_closed(self) -> None:
        """The tunnel is over."""
        self._host.tunnel_closed()

    def hold_request(self, held: bool) -> None:
        """Leave the rest of the request in the socket for now, or go on."""
        if held:
            pause(self._stream)
        else:
            resume(self._stream)

    def _response_ended(self) -> None:
        self._exchange = None
        if self._body is not None:
            # The client still sends what nobody will read.
            self._body = None
            self._linger()
        elif self._close_after:
            self._linger() if self._buffer else self._stream.close()
        else:
            # A response that began before the drain has not said that it is the last.
            seconds = NOTICE_SECONDS if self._draining else IDLE_SECONDS
            self.deadline = self._loop.time() + seconds
            self._go_on()

    def _go_on(self) -> None:
        resume(self._stream)
        if self._buffer or self._at_end:
            # Not from here: a client that pipelines must not deepen the stack.
            self._loop.call_soon(self._continue)

    def _continue(self) -> None:
        if self._exchange is None and not self._stream.is_closing():
            self.data_received(b"")

    def _linger(self) -> None:
        """Let the client read the response before unread input turns the close into a reset."""
        if self._at_end:
            self._stream.close()
            return
        self._lingering = True
        self._buffer = b""
        self.deadline = self._loop.time() + LINGER_SECONDS
        end(self._stream)
        resume(self._stream)


class _Deaf(asyncio.Protocol):
    """Holds the place of a stream's user until a tunnel takes over; reading is paused meanwhile."""

    def eof_received(self) -> bool:
        """Keep what can still be used."""
        return True
