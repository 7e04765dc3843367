"""One request and its response, between the session that heard it and the session that passes it on.

The server side calls `request_*`, the client side `response_*`; neither knows the other, nor which
version of HTTP it speaks. Whoever serves the exchange attaches a client side, or refuses. However it
goes, `ended` is called exactly once.

    Http1Server  ── request_data ──▶  Exchange  ── send ──────▶  Http1Client
    ServerStream ◀── respond ───────            ◀── response ──  ClientStream
"""

from collections.abc import Callable
from typing import Any
from typing import Protocol as Shape

from common.errors import MeshError
from proxy.codec.heads import Headers, RequestHead, ResponseHead
from proxy.decide.answer import answer, late_answer
from proxy.decide.grpc import status_in
from proxy.refusals import ClientGone, Refusal, ResponseReset, code_of
from proxy.transport.stream import Stream

PENDING_LIMIT = 64 * 1024
"""Bytes of a request's body that may wait for a connection to its endpoint."""
REPLAY_LIMIT = 16 * 1024
"""Bytes of a request's body that are kept until the response begins: they may have to be sent again."""
# RFC 9110 §9.2.2: sending these twice is as good as once.
_IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"))


_NO_TRAILERS: Headers = []


class ServerSide(Shape):
    """The session that heard the request."""

    def respond(self, head: ResponseHead, data: bytes, end: bool) -> None:
        """Send the final head, the body as far as it came with it, and the end if that was all."""
        ...

    def inform(self, head: ResponseHead) -> None:
        """Send an interim response (1xx)."""
        ...

    def send(self, data: bytes, end: bool) -> None:
        """Send some of the body, and its end if that is it."""
        ...

    def finish(self, trailers: Headers) -> None:
        """The body is complete."""
        ...

    def break_off(self, code: int) -> None:
        """The response cannot be completed: make sure that the client notices.

        `code` says why to a client that speaks HTTP/2 (RFC 9113 §7).
        """
        ...

    def detach(self) -> tuple[Stream, bytes]:
        """Give up the connection and what was read ahead from it, for a tunnel."""
        ...

    def tunnel_closed(self) -> None:
        """The tunnel for which the connection was given up is over."""
        ...

    def hold_request(self, held: bool) -> None:
        """Stop reading the request's body, or go on."""
        ...


class ClientSide(Shape):
    """The session that carries the request to an endpoint."""

    def send(self, data: bytes, end: bool) -> None:
        """Send some of the request's body, and its end if that is it."""
        ...

    def finish(self, trailers: Headers) -> None:
        """The request is complete."""
        ...

    def cancel(self) -> None:
        """Nobody waits for the response any more."""
        ...

    def hold_response(self, held: bool) -> None:
        """Stop reading the response's body, or go on."""
        ...


class Exchange:
    """One request and its response. `ended(exchange)` is called once, when nothing more will happen."""

    __slots__ = (
        "bytes_in",
        "bytes_out",
        "client",
        "context",
        "deadline",
        "done",
        "ended",
        "error",
        "first_byte_at",
        "grpc_status",
        "held_response",
        "path",
        "pending",
        "pending_size",
        "repeats",
        "request",
        "request_done",
        "response_started",
        "retry",
        "sent",
        "sent_at",
        "server",
        "started_at",
        "status",
        "trailers",
        "tries",
        "way",
    )

    def __init__(self, request: RequestHead, server: ServerSide, started_at: float) -> None:
        self.request = request
        self.server = server
        self.started_at = started_at
        """Loop time, seconds."""
        self.client: ClientSide | None = None
        self.first_byte_at = 0.0
        self.status = 0
        self.grpc_status = -1
        """From the trailers of a gRPC response, or its head if that is all of it; -1: not known."""
        self.error: MeshError | None = None
        """What the mesh has to say to it, if it was the mesh that answered."""
        self.bytes_in = 0
        self.bytes_out = 0
        self.pending: list[bytes] | tuple[()] = ()
        """Of the request's body, what waits for a connection."""
        self.pending_size = 0
        self.sent: list[bytes] | None = None
        """Of the request's body, what went out already, as long as it may have to be sent again."""
        self.repeats = 0
        """How often it was sent again."""
        self.request_done = False
        self.trailers = _NO_TRAILERS
        self.response_started = False
        self.held_response = False
        self.done = False
        self.context: Any = None
        """For whoever serves it: what it is meant for."""
        self.path: Any = None
        """For whoever serves it: where it goes now."""
        self.deadline: Any = None
        """For whoever serves it: what ends it when it takes too long."""
        self.tries = 0
        """How often it was sent on a path."""
        self.sent_at = 0.0
        """When that was last done: loop time, seconds."""
        self.way: Any = None
        """For the carrier: where the exchange goes."""
        self.ended: Callable[[Exchange], None] | None = None
        self.retry: Callable[[Exchange, MeshError], bool] | None = None
        """Asked when an attempt failed before any response: true if it takes care of another."""

    def __repr__(self) -> str:
        return f"<Exchange {self.request!r} status={self.status}>"

    @property
    def replayable(self) -> bool:
        """Whether all that was sent of the request is still here."""
        return self.bytes_in <= REPLAY_LIMIT and not self.response_started

    @property
    def repeatable(self) -> bool:
        """Whether it may be sent again even if it has had its effect."""
        return self.replayable and self.request.method in _IDEMPOTENT

    def rewind(self) -> None:
        """Have a replayable request begin anew with whoever is attached next."""
        self.repeats += 1
        self.client = None
        self.pending = [*(self.sent or ()), *self.pending]
        self.pending_size = sum(map(len, self.pending))
        self.sent = None
        # Whoever was too slow to take it is gone.
        self.server.hold_request(False)

    # What the server side says.

    def request_data(self, data: bytes, end: bool = False) -> None:
        """Some of the request's body, and its end if that is it."""
        self.bytes_in += len(data)
        self.request_done = end
        if self.client is not None:
            if not self.response_started:
                self._remember(data)
            self.client.send(data, end)
        elif not self.done:
            if not self.pending:
                self.pending = []
            self.pending.append(data)
            self.pending_size += len(data)
            if self.pending_size >= PENDING_LIMIT:
                self.server.hold_request(True)

    def request_end(self, trailers: Headers) -> None:
        """The request is complete."""
        self.request_done = True
        self.trailers = trailers
        if self.client is not None:
            self.client.finish(trailers)

    def request_lost(self) -> None:
        """The client is gone before the response was complete."""
        if not self.done:
            self.error = self.error or ClientGone()
            self._end()
            if self.client is not None:
                self.client.cancel()

    def hold_response(self, held: bool) -> None:
        """The client reads more slowly than the endpoint writes, or no longer so."""
        self.held_response = held
        if self.client is not None:
            self.client.hold_response(held)

    # What the one who serves it says.

    def attach(self, client: ClientSide) -> None:
        """The request goes to `client`, which has sent the head; hand over what waited."""
        self.client = client
        if self.pending_size >= PENDING_LIMIT:
            # Before the rest: what follows may be too much for the endpoint, which then says so.
            self.server.hold_request(False)
        pending, self.pending, self.pending_size = self.pending, (), 0
        for data in pending:
            self._remember(data)
            client.send(data, False)
        if self.held_response:
            client.hold_response(True)
        if self.request_done:
            client.finish(self.trailers)

    def refuse(self, error: MeshError) -> None:
        """Answer in the mesh's own name."""
        if self.done:
            return
        self.error = error
        if self.response_started:
            self._refuse_late(error)
            return
        head = answer(self.request, error)
        self.status = head.status
        if self.request.protocol == "grpc":
            self.grpc_status = status_in(head.headers)
        self.response_started = True
        self.server.respond(head, b"", True)
        self._end()

    def _refuse_late(self, error: MeshError) -> None:
        """End a response that has begun: gRPC has a status for that, if nothing is in the way of it."""
        grpc = self.request.protocol == "grpc" and not self.held_response
        # Why an endpoint reset the stream is passed on as it is.
        if grpc and isinstance(error, Refusal) and not isinstance(error, ResponseReset):
            self.response_end(late_answer(error))
        else:
            self.server.break_off(code_of(error))
            self._end()

    def decline(self, error: MeshError, code: int) -> None:
        """Say no by an error code of HTTP/2 alone, such as CONNECT_ERROR; no response has begun."""
        if not self.done:
            self.error = error
            self.status = answer(self.request, error).status
            self.server.break_off(code)
            self._end()

    # What the client side says.

    def informational(self, head: ResponseHead) -> None:
        """An interim response."""
        if not self.done:
            self.server.inform(head)

    def response(self, head: ResponseHead, data: bytes, end: bool, now: float) -> None:
        """The final response began; `data` of its body came along, and perhaps its end."""
        if self.done:
            return
        self.first_byte_at = now
        self.status = head.status
        self.response_started = True
        self.sent = None
        self.bytes_out += len(data)
        if end and self.request.protocol == "grpc":
            self.grpc_status = status_in(head.headers)
        self.server.respond(head, data, end)
        if end:
            self._end()

    def response_data(self, data: bytes, end: bool = False) -> None:
        """Some of the response's body, and its end if that is it."""
        self.bytes_out += len(data)
        if not self.done:
            self.server.send(data, end)
            if end:
                self._end()

    def response_end(self, trailers: Headers) -> None:
        """The response is complete."""
        if not self.done:
            if trailers and self.request.protocol == "grpc":
                self.grpc_status = status_in(trailers)
            self.server.finish(trailers)
            self._end()

    def response_failed(self, error: Refusal) -> None:
        """The endpoint will not complete its response."""
        self.client = None
        if self.done:
            return
        if not self.response_started and self.retry is not None and self.retry(self, error):
            return
        self.refuse(error)

    def tunnel(self, head: ResponseHead, now: float) -> tuple[Stream, bytes]:
        """The endpoint agreed to another protocol: take over the client's connection."""
        self.first_byte_at = now
        self.status = head.status
        self.response_started = True
        self.server.respond(head, b"", False)
        return self.server.detach()

    def tunnel_ended(self, error: Exception | None, from_client: int, from_endpoint: int) -> None:
        """The tunnel is closed; so many bytes went through it."""
        self.bytes_in += from_client
        self.bytes_out += from_endpoint
        server = self.server
        self._end()
        server.tunnel_closed()

    def _remember(self, data: bytes) -> None:
        if self.bytes_in > REPLAY_LIMIT:
            self.sent = None
        elif self.sent is None:
            self.sent = [data]
        else:
            self.sent.append(data)

    def _end(self) -> None:
        self.done = True
        self.pending = ()
        self.sent = None
        # A stream and its exchange know each other: apart, both go at once, and no collector need look.
        self.server = NOBODY
        if self.ended is not None:
            ended, self.ended = self.ended, None
            ended(self)


class _Nobody:
    """The server side of an exchange that is over."""

    def respond(self, head: ResponseHead, data: bytes, end: bool) -> None:
        """Nobody hears it."""

    def inform(self, head: ResponseHead) -> None:
        """Nobody hears it."""

    def send(self, data: bytes, end: bool) -> None:
        """Nobody hears it."""

    def finish(self, trailers: Headers) -> None:
        """Nobody hears it."""

    def break_off(self, code: int) -> None:
        """There is nothing to break."""

    def detach(self) -> tuple[Stream, bytes]:
        """There is nothing to give up."""
        raise RuntimeError("the exchange is over")

    def tunnel_closed(self) -> None:
        """There is none."""

    def hold_request(self, held: bool) -> None:
        """Nothing comes."""


NOBODY: ServerSide = _Nobody()
