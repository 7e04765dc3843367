"""HTTP requests on their way out: for each, the endpoint that takes it."""

import asyncio
import functools

import anyio

from proxy.codec import http2
from proxy.codec.heads import RequestHead
from proxy.control.discovery import Backend
from proxy.decide.balance import Candidate
from proxy.observe.counters import Counter
from proxy.outbound.reach import Reach, is_meshed
from proxy.refusals import (
    ConnectFailed,
    NoEndpoints,
    NotProcessed,
    Overloaded,
    Refusal,
    TlsFailed,
)
from proxy.session.carrier import Carrier, Way
from proxy.session.errands import Spawner
from proxy.session.exchange import Exchange
from proxy.session.tally import tally
from proxy.transport.detect import Protocol

FAILFAST_SECONDS = 3.0
"""A request waits so long for an endpoint to become ready, then it is refused."""
QUEUE_LIMIT = 100
"""Requests that may wait so at a time, for each backend."""
TRIES = 3
"""Endpoints tried in turn while none can be connected to: nothing was sent, so nothing is lost."""


_MARKS = {"http1": http2.HTTP1, "absolute": http2.HTTP1_ABSOLUTE}


class Attempt:
    """Where an exchange goes now, and what was learned on the way."""

    __slots__ = ("backend", "candidate", "counter", "started_at", "tries")

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.candidate: Candidate | None = None
        self.counter: Counter | None = None
        self.started_at = 0.0
        self.tries = 0


class Requests:
    """Takes each request to an endpoint of its backend."""

    def __init__(self, group: Spawner, carrier: Carrier, reach: Reach) -> None:
        self._group = group
        self._carrier = carrier
        self._reach = reach
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[Backend, int] = {}

    def serve(self, exchange: Exchange, backend: Backend) -> None:
        """Send it to the endpoint that looks best; wait a little if there is none."""
        exchange.context = attempt = Attempt(backend)
        exchange.ended = self._ended
        candidate = backend.balancer.pick()
        if candidate is None:
            self._group.start_soon(self._await_endpoint, exchange, backend)
        else:
            self._send(exchange, attempt, candidate)

    def _send(self, exchange: Exchange, attempt: Attempt, candidate: Candidate) -> None:
        attempt.candidate = candidate
        request = exchange.request
        attempt.counter = self._reach.counter(attempt.backend, candidate, request.protocol)
        attempt.started_at = self._loop.time()
        attempt.tries += 1
        candidate.in_flight += 1
        self._carrier.carry(exchange, self._way(candidate, request))

    def _way(self, candidate: Candidate, request: RequestHead) -> Way:
        """How this request gets to this candidate; remembered, because the next one goes there, too.

        To a proxy all goes over one multiplexed connection, except what turns into a tunnel.
        """
        if request.upgrade or request.method == b"CONNECT":
            kind = "tunnel"
        elif request.protocol != "http/1.1":
            kind = "http2"
        else:
            kind = "absolute" if request.absolute else "http1"
        way = candidate.notes.get(kind)
        if isinstance(way, Way):
            return way
        multiplexed = kind == "http2" or (kind != "tunnel" and is_meshed(candidate))
        protocol = Protocol.HTTP2 if multiplexed else Protocol.HTTP1
        way = Way(
            (self._reach.key(candidate), protocol),
            functools.partial(self._reach.open, candidate, protocol),
            self._not_connected,
            _MARKS.get(kind, ()) if multiplexed else (),
            multiplexed=multiplexed,
            elsewhere=self._elsewhere,
        )
        candidate.notes[kind] = way
        return way

    async def _await_endpoint(self, exchange: Exchange, backend: Backend) -> None:
        waiting = self._waiting.get(backend, 0)
        if waiting >= QUEUE_LIMIT:
            exchange.refuse(Overloaded(f"{waiting} requests wait for {backend.service}"))
            return
        self._waiting[backend] = waiting + 1
        candidate = None
        with anyio.move_on_after(FAILFAST_SECONDS):
            while candidate is None and not exchange.done:
                updated = anyio.Event()
                backend.balancer.on_update(updated.set)
                await updated.wait()
                candidate = backend.balancer.pick()
        self._waiting[backend] -= 1
        if not self._waiting[backend]:
            del self._waiting[backend]
        if exchange.done:
            return
        if candidate is None:
            exchange.refuse(NoEndpoints(f"none of {backend.service} is ready"))
        else:
            assert isinstance(exchange.context, Attempt)
            self._send(exchange, exchange.context, candidate)

    def _not_connected(self, exchange: Exchange, error: Refusal) -> None:
        """Nothing was sent: another endpoint may take it."""
        attempt = exchange.context
        assert isinstance(attempt, Attempt)
        failed = attempt.candidate
        assert failed is not None
        if isinstance(error, ConnectFailed | TlsFailed):
            failed.unreachable(self._reach.monotonic())
        if exchange.done or attempt.tries >= TRIES:
            exchange.refuse(error)
        else:
            self._send_elsewhere(exchange, attempt, failed)

    def _elsewhere(self, exchange: Exchange, error: Refusal) -> None:
        """It came back as good as unsent: another endpoint may take it."""
        attempt = exchange.context
        assert isinstance(attempt, Attempt)
        failed = attempt.candidate
        assert failed is not None
        now = self._reach.monotonic()
        if isinstance(error, NotProcessed) and failed.rests_until <= now:
            failed.unreachable(now)
        self._send_elsewhere(exchange, attempt, failed)

    def _send_elsewhere(self, exchange: Exchange, attempt: Attempt, failed: Candidate) -> None:
        failed.in_flight -= 1
        attempt.candidate = attempt.counter = None
        other = attempt.backend.balancer.pick(avoid=failed)
        if other is None:
            self._group.start_soon(self._await_endpoint, exchange, attempt.backend)
        else:
            self._send(exchange, attempt, other)

    def _ended(self, exchange: Exchange) -> None:
        attempt = exchange.context
        assert isinstance(attempt, Attempt)
        now = self._loop.time()
        candidate, counter = attempt.candidate, attempt.counter
        if candidate is None or counter is None:
            counter = self._reach.untracked(attempt.backend, exchange.request.protocol)
        else:
            candidate.in_flight -= 1
            if exchange.first_byte_at:
                rtt = exchange.first_byte_at - attempt.started_at
                candidate.answered(rtt, self._reach.monotonic())
        counter.bytes_written += exchange.bytes_in
        counter.bytes_read += exchange.bytes_out
        tally(counter, exchange, now)
