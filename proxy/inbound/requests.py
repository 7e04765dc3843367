"""HTTP requests on their way in: each is authorized, then goes to the application on its own port."""

import asyncio
import functools

from proxy.codec import http2
from proxy.codec.heads import BadMessage, RequestHead
from proxy.inbound.caller import Caller
from proxy.observe.counters import Counters
from proxy.refusals import NoRoute, Refusal
from proxy.session.carrier import Carrier, Way
from proxy.session.exchange import Exchange
from proxy.session.host import Server
from proxy.session.http1_server import Http1Server
from proxy.session.http2_client import UNREACHED
from proxy.session.http2_server import Http2Server
from proxy.session.sessions import Sessions
from proxy.session.tally import tally
from proxy.transport.connect import Connector
from proxy.transport.detect import Protocol
from proxy.transport.stream import Stream
from proxy.transport.sweep import Sweep

CLIENT_ID = b"tulle-client-id"
"""Tells the application who is asking; whatever a client says there itself is taken out."""
_OURS = (CLIENT_ID, http2.ORIGINAL)


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

    def start(self, stream: Stream, caller: Caller, protocol: Protocol, early: bytes) -> None:
        """Serve a connection that speaks HTTP/1.1 or HTTP/2."""
        _Client(self, caller, protocol).start(stream, protocol, early)


class _Client:
    """One HTTP connection from a client: the Host of its session."""

    def __init__(self, requests: Requests, caller: Caller, protocol: Protocol) -> None:
        self._requests = requests
        self._caller = caller
        extra = [(CLIENT_ID, str(caller.identity).encode())] if caller.identity else []
        open_new = functools.partial(requests.connector.plain, *caller.target)
        to_peer = caller.identity is not None and protocol is Protocol.HTTP2
        self._http1, self._http2 = (
            Way(
                (caller.target, multiplexed),
                open_new,
                _not_looked_at if to_peer else _not_connected,
                extra,
                multiplexed=multiplexed,
            )
            for multiplexed in (False, True)
        )

    def start(self, stream: Stream, protocol: Protocol, early: bytes) -> None:
        """Begin, with what was read already."""
        # The session knows us, but not we the session: nobody need look for a circle when both go.
        kind = Http2Server if protocol is Protocol.HTTP2 else Http1Server
        server: Http1Server | Http2Server = kind(stream, self, self._requests.sweep)
        self._requests.sessions.add(server)
        server.start(early)

    def serve(self, exchange: Exchange) -> None:
        """Carry out a request."""
        request = exchange.request
        onward = request.onward
        if onward is None:
            onward = request.onward = self._onward(request)
        exchange.request = onward
        exchange.ended = self._ended
        refusal = self._caller.refusal()
        if refusal is not None:
            exchange.refuse(refusal)
        elif onward.protocol == "http/1.1":
            self._requests.carrier.carry(exchange, self._http1)
        elif onward.method == b"CONNECT":
            exchange.refuse(NoRoute("a stream of HTTP/2 cannot be a tunnel here"))
        else:
            self._requests.carrier.carry(exchange, self._http2)

    def _onward(self, request: RequestHead) -> RequestHead:
        """The request as the application is to see it: as its client sent it."""
        original = request.get(http2.ORIGINAL)
        headers = [field for field in request.headers if field[0] not in _OURS]
        authority = request.authority or "{}:{}".format(*self._caller.target).encode()
        if original is None or self._caller.identity is None:
            return request.replaced(headers=headers, authority=authority)
        return request.replaced(
            headers=headers,
            authority=authority,
            protocol="http/1.1",
            absolute=original == http2.HTTP1_ABSOLUTE[0][1],
        )

    def rejected(self, error: BadMessage) -> None:
        """The client sent what is not HTTP."""
        self._requests.counters.rejected("inbound", error.word)

    def closed(self, server: Server, *, detached: bool) -> None:
        """The session is over; a tunnel may hold the connection still."""
        self._requests.sessions.discard(server)
        if not detached:
            self._caller.left()

    def tunnel_closed(self) -> None:
        """The tunnel is over."""
        self._caller.left()

    def _ended(self, exchange: Exchange) -> None:
        counter = self._caller.counter(exchange.request.protocol)
        counter.bytes_read += exchange.bytes_in
        counter.bytes_written += exchange.bytes_out
        tally(counter, exchange, self._requests.loop.time())


def _not_connected(exchange: Exchange, error: Refusal) -> None:
    exchange.refuse(error)


def _not_looked_at(exchange: Exchange, error: Refusal) -> None:
    """The application cannot be connected to: the peer's proxy may send the request elsewhere."""
    exchange.decline(error, UNREACHED)
