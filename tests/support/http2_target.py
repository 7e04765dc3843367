"""A server session of HTTP/2 alone, without proxies around it: what conformance suites are pointed at.

`python -m tests.support.http2_target PORT` answers each request with a small response.
"""

import asyncio
import sys
from typing import cast

from proxy.codec.heads import BadMessage, ResponseHead
from proxy.session.exchange import Exchange
from proxy.session.host import Server
from proxy.session.http2_server import Http2Server
from proxy.transport.stream import Stream
from proxy.transport.sweep import Sweep

BODY = b"the answer to everything\n"


class Target:
    """Answers at once: a host for one connection."""

    def serve(self, exchange: Exchange) -> None:
        """Answer."""
        headers = [(b"content-length", b"%d" % len(BODY)), (b"content-type", b"text/plain")]
        head = ResponseHead(200, headers, body=len(BODY))
        if exchange.request_done:
            exchange.response(head, BODY, True, 0.0)
        else:
            exchange.attach(Sink(exchange, head))

    def rejected(self, error: BadMessage) -> None:
        """Nothing to count."""

    def closed(self, server: Server, *, detached: bool) -> None:
        """Nothing to count."""

    def tunnel_closed(self) -> None:
        """There is none."""


class Sink:
    """Takes a request's body, then answers: a ClientSide."""

    def __init__(self, exchange: Exchange, head: ResponseHead) -> None:
        self._exchange = exchange
        self._head = head

    def send(self, data: bytes, end: bool) -> None:
        """Take some."""
        if end:
            self.finish([])

    def finish(self, trailers: list[tuple[bytes, bytes]]) -> None:
        """Answer."""
        self._exchange.response(self._head, BODY, True, 0.0)

    def cancel(self) -> None:
        """Nobody waits."""

    def hold_response(self, held: bool) -> None:
        """It is short."""


class Door(asyncio.Protocol):
    """Begins a session on each connection."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A connection."""
        Http2Server(cast(Stream, transport), Target(), self._sweep).start()


async def serve(port: int) -> None:
    """Serve for ever."""
    loop = asyncio.get_running_loop()
    sweep = Sweep()
    server = await loop.create_server(lambda: Door(sweep), "127.0.0.1", port)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await sweep.run()


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(int(sys.argv[1])))
