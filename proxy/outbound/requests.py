"""HTTP requests on their way out: for each, the endpoint that takes it."""

import asyncio
import functools

from proxy.codec import http2
from proxy.codec.heads import Headers, Manner, RequestHead
from proxy.control.discovery import Backend
from proxy.decide.breaker import State
from proxy.decide.candidate import Candidate
from proxy.decide.grpc import ENDPOINT_FAULTS, timeout_of
from proxy.observe.counters import Counter
from proxy.outbound.queue import Queue
from proxy.outbound.reach import Reach, is_meshed
from proxy.refusals import (
    BadResponse,
    ConnectFailed,
    NotProcessed,
    Refusal,
    ResponseLost,
    TlsFailed,
    TooSlow,
)
from proxy.session.carrier import Carrier, Way
from proxy.session.deadlines import Deadlines, limit
from proxy.session.exchange import Exchange
from proxy.session.tally import tally
from proxy.transport.detect import Protocol

TRIES = 3
"""Endpoints tried in turn while none can be connected to: nothing was sent, so nothing is lost."""
_STREAMS = ("http/2", "grpc")
_MARKS: dict[Manner, Headers] = {"origin": http2.HTTP1, "absolute": http2.HTTP1_ABSOLUTE}


class Path:
    """How requests of one manner get to a candidate, and where they are counted."""

    __slots__ = ("candidate", "counter", "way")

    def __init__(self, candidate: Candidate, way: Way, counter: Counter) -> None:
        self.candidate = candidate
        self.way = way
        self.counter = counter


class Requests:
    """Takes each request to an endpoint of its backend.

    Of each exchange, `context` is the backend, and `path` is where it goes now; None while it waits.
    """

    def __init__(self, carrier: Carrier, reach: Reach) -> None:
        self._carrier = carrier
        self._reach = reach
        self._loop = asyncio.get_running_loop()
        self._monotonic = reach.monotonic
        self._on_ended = self._ended
        self._deadlines = Deadlines(self._loop)
        self._queues: dict[Backend, Queue] = {}

    @property
    def waiting(self) -> int:
        """Requests that wait for an endpoint to become ready."""
        return sum(map(len, self._queues.values()))

    @property
    def limited(self) -> int:
        """Requests that have a deadline."""
        return len(self._deadlines)

    def serve(self, exchange: Exchange, backend: Backend) -> None:
        """Send it to the endpoint that looks best; wait a little if there is none."""
        exchange.context = backend
        exchange.ended = self._on_ended
        request = exchange.request
        if request.protocol == "grpc" and (seconds := timeout_of(request)) is not None:
            exchange.deadline = limit(self._deadlines, exchange, seconds)
        candidate = backend.balancer.pick()
        if candidate is None:
            self._wait(exchange, backend)
        else:
            self._send(exchange, candidate)

    def _wait(self, exchange: Exchange, backend: Backend) -> None:
        queue = self._queues.get(backend)
        if queue is None:
            queue = self._queues[backend] = Queue(backend, self._deadlines, self._send_on)
        queue.add(exchange, self._loop.time())

    def _send_on(self, exchange: Exchange, candidate: Candidate) -> None:
        """What had to wait can go."""
        self._leave(exchange)
        self._send(exchange, candidate)

    def _leave(self, exchange: Exchange) -> None:
        backend: Backend = exchange.context
        queue = self._queues.get(backend)
        if queue is not None:
            queue.discard(exchange)
            if not queue:
                del self._queues[backend]

    def _send(self, exchange: Exchange, candidate: Candidate) -> None:
        request = exchange.request
        path: Path | None = candidate.notes.get(request.manner)
        if path is None or path.counter.forgotten:
            path = self._path(exchange.context, candidate, request)
        exchange.path = path
        exchange.sent_at = self._loop.time()
        exchange.tries += 1
        candidate.in_flight += 1
        breaker = candidate.breaker
        if breaker is not None and breaker.state is State.PROBING:
            breaker.fares_well = functools.partial(_fares_well, exchange)
        self._carrier.carry(exchange, path.way)

    def _path(self, backend: Backend, candidate: Candidate, request: RequestHead) -> Path:
        """How this request gets to this candidate; remembered, because the next one goes there, too.

        To a proxy all goes over one multiplexed connection, except what turns into a tunnel.
        """
        manner = request.manner
        multiplexed = manner in _STREAMS or (manner != "tunnel" and is_meshed(candidate))
        protocol = Protocol.HTTP2 if multiplexed else Protocol.HTTP1
        way = Way(
            (self._reach.key(candidate), protocol),
            functools.partial(self._reach.open, candidate, protocol),
            self._not_connected,
            _MARKS.get(manner, ()) if multiplexed else (),
            multiplexed=multiplexed,
            elsewhere=self._elsewhere,
        )
        counter = self._reach.counter(backend, candidate, request.protocol)
        path = Path(candidate, way, counter)
        candidate.notes[manner] = path
        return path

    def _not_connected(self, exchange: Exchange, error: Refusal) -> None:
        """Nothing was sent: another endpoint may take it."""
        failed: Candidate = exchange.path.candidate
        if isinstance(error, ConnectFailed | TlsFailed):
            failed.unreachable(self._monotonic())
        if exchange.done or exchange.tries >= TRIES:
            exchange.refuse(error)
        else:
            self._send_elsewhere(exchange, failed)

    def _elsewhere(self, exchange: Exchange, error: Refusal) -> None:
        """It came back as good as unsent: another endpoint may take it."""
        failed: Candidate = exchange.path.candidate
        now = self._monotonic()
        if isinstance(error, NotProcessed | ConnectFailed) and failed.rests_until <= now:
            failed.unreachable(now)
        if failed.breaker is not None:
            failed.vanished(exchange.sent_at, now)
        self._send_elsewhere(exchange, failed)

    def _send_elsewhere(self, exchange: Exchange, failed: Candidate) -> None:
        failed.in_flight -= 1
        exchange.path = None
        backend: Backend = exchange.context
        other = backend.balancer.pick(avoid=failed)
        if other is None:
            self._wait(exchange, backend)
        else:
            self._send(exchange, other)

    def _ended(self, exchange: Exchange) -> None:
        now = self._loop.time()
        if exchange.deadline is not None:
            self._deadlines.discard(exchange.deadline)
            exchange.deadline = None
        path: Path | None = exchange.path
        if path is None:
            self._leave(exchange)
            counter = self._reach.untracked(exchange.context, exchange.request.protocol)
        else:
            counter, candidate = path.counter, path.candidate
            if counter.forgotten:
                # It took so long that the series had been idle, and was dropped.
                path = self._path(exchange.context, candidate, exchange.request)
                counter = path.counter
            candidate.in_flight -= 1
            if exchange.first_byte_at:
                rtt = exchange.first_byte_at - exchange.sent_at
                candidate.answered(rtt, self._monotonic())
            elif isinstance(exchange.error, TooSlow):
                candidate.kept_waiting(now - exchange.sent_at, self._monotonic())
            elif isinstance(exchange.error, NotProcessed | ConnectFailed):
                # It could not be sent again, or not any more: others need not try there.
                candidate.unreachable(self._monotonic())
            if candidate.breaker is not None:
                self._judge(exchange, candidate)
        counter.bytes_written += exchange.bytes_in
        counter.bytes_read += exchange.bytes_out
        tally(counter, exchange, now)

    def _judge(self, exchange: Exchange, candidate: Candidate) -> None:
        """Tell the endpoint's breaker what its answer says about it."""
        error, started = exchange.error, exchange.sent_at
        if error is None:
            if _is_good(exchange):
                candidate.passed(started)
            else:
                candidate.failed(started, self._monotonic())
        elif isinstance(error, _ITS_FAULT) and not isinstance(error, NotProcessed):
            candidate.failed(started, self._monotonic())
        else:
            # The client left; or no connection, of which the candidate knows.
            candidate.vanished(started, self._monotonic())


_ITS_FAULT = (ResponseLost, BadResponse, TooSlow)


def _is_good(exchange: Exchange) -> bool:
    """Whether an endpoint that answers so is well; until it has ended, a gRPC answer has no status."""
    if exchange.request.protocol == "grpc" and exchange.grpc_status >= 0:
        return exchange.grpc_status not in ENDPOINT_FAULTS
    return exchange.status < 500


def _fares_well(exchange: Exchange) -> bool:
    return exchange.response_started and exchange.error is None and _is_good(exchange)
