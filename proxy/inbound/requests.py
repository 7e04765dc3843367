"""HTTP requests on their way in: each is authorized, then goes to the application on its own port."""

import asyncio
import functools

from proxy.codec.heads import BadMessage, Headers
from proxy.inbound.caller import Caller
from proxy.observe.counters import Counters
from proxy.refusals import ClientGone, Refusal
from proxy.session.carrier import Carrier
from proxy.session.exchange import Exchange
from proxy.session.http1_server import Http1Server
from proxy.session.sessions import Sessions
from proxy.transport.connect import Connector
from proxy.transport.stream import Stream
from proxy.transport.sweep import Sweep

CLIENT_ID = b"tulle-client-id"
"""Tells the application who is asking; whatever a client says there itself is taken out."""


class Requests:
    """Takes requests to the application."""

    def __init__(
        self,
        carrier: Carrier,
        connector: Connector,
        sessions: Sessions,
        sweep: Sweep,
        counters: Counters,
    ) -> None:
        self.carrier = carrier
        self.connector = connector
        self.sessions = sessions
        self.sweep = sweep
        self.counters = counters
        self.loop = asyncio.get_running_loop()

    def start(self, stream: Stream, caller: Caller, early: bytes) -> None:
        """Serve a connection that speaks HTTP/1.1."""
        _Client(self, stream, caller).start(early)


class _Client:
    """One HTTP connection from a client: the Host of its session."""

    def __init__(self, requests: Requests, stream: Stream, caller: Caller) -> None:
        self._requests = requests
        self._caller = caller
        self._server = Http1Server(stream, self, requests.sweep)
        identity = caller.identity
        self._extra: Headers = [(CLIENT_ID, str(identity).encode())] if identity else []
        self._open = functools.partial(requests.connector.plain, *caller.target)

    def start(self, early: bytes) -> None:
        """Begin, with what was read already."""
        self._requests.sessions.add(self._server)
        self._server.start(early)

    def serve(self, exchange: Exchange) -> None:
        """Carry out a request."""
        exchange.ended = self._ended
        refusal = self._caller.refusal()
        if refusal is not None:
            exchange.refuse(refusal)
            return
        request = exchange.request
        if request.get(CLIENT_ID) is not None:
            request.headers = [field for field in request.headers if field[0] != CLIENT_ID]
        if not request.authority:
            request.authority = f"{self._caller.target[0]}:{self._caller.target[1]}".encode()
        self._requests.carrier.carry(
            exchange, self._caller.target, self._open, _not_connected, self._extra
        )

    def rejected(self, error: BadMessage) -> None:
        """The client sent what is not HTTP."""
        self._requests.counters.rejected("inbound", error.word)

    def closed(self, server: Http1Server, *, detached: bool) -> None:
        """The session is over; a tunnel may hold the connection still."""
        self._requests.sessions.discard(server)
        if not detached:
            self._caller.left()

    def tunnel_closed(self) -> None:
        """The tunnel is over."""
        self._caller.left()

    def _ended(self, exchange: Exchange) -> None:
        now = self._requests.loop.time()
        counter = self._caller.counter("http/1.1")
        counter.bytes_read += exchange.bytes_in
        counter.bytes_written += exchange.bytes_out
        error = exchange.error
        gone = isinstance(error, ClientGone) or not exchange.status
        status = ClientGone.http if gone else exchange.status
        counter.request(status, error, now - exchange.started_at, now)


def _not_connected(exchange: Exchange, error: Refusal) -> None:
    exchange.refuse(error)
