"""Opaque connections on their way out: one endpoint for each, then bytes both ways."""

import asyncio
from collections import Counter as Tally
from collections.abc import Callable

import anyio

from common.errors import MeshError
from proxy.control.discovery import Backend
from proxy.decide.candidate import Candidate
from proxy.observe.counters import Counter
from proxy.outbound.queue import FAILFAST_SECONDS, QUEUE_LIMIT
from proxy.outbound.reach import Reach
from proxy.outbound.requests import TRIES
from proxy.refusals import ConnectFailed, NoEndpoints, Refusal, TlsFailed
from proxy.session.detector import Detector
from proxy.transport.connect import Connector
from proxy.transport.detect import Protocol
from proxy.transport.original_dst import Address
from proxy.transport.relay import Relay
from proxy.transport.stream import Stream, reset


class Streams:
    """Relays connections to endpoints. `left()` is called for each when it is over."""

    def __init__(self, reach: Reach, connector: Connector) -> None:
        self._reach = reach
        self._connector = connector
        self._loop = asyncio.get_running_loop()
        self._waiting: Tally[Backend] = Tally()

    async def to_backend(
        self, stream: Stream, early: bytes, backend: Backend, left: Callable[[], None]
    ) -> None:
        """Relay to the endpoint that looks best; another is tried while none can be connected to.

        If none is ready, wait a little for one.
        """
        error: Refusal = NoEndpoints(f"none of {backend.service} is ready")
        failed: Candidate | None = None
        counter = self._reach.untracked(backend, "tcp")
        for _ in range(TRIES):
            candidate = backend.balancer.pick(avoid=failed) or await self._awaited(backend)
            if candidate is None or candidate is failed or stream.is_closing():
                break
            counter = self._reach.counter(backend, candidate, "tcp")
            began = self._loop.time()
            candidate.in_flight += 1
            try:
                other = await self._reach.open(candidate, Protocol.TCP)
            except Refusal as refusal:
                candidate.in_flight -= 1
                if isinstance(refusal, ConnectFailed | TlsFailed):
                    candidate.unreachable(self._reach.monotonic())
                error, failed = refusal, candidate
                continue
            now = self._reach.monotonic()
            candidate.answered(self._loop.time() - began, now)
            # That it can be connected to says nothing of how it answers.
            candidate.vanished(now, now)
            self._join(stream, early, other, counter, left, candidate)
            return
        self._give_up(stream, counter, error, left)

    async def listen_ahead(
        self, stream: Stream, backend: Backend, left: Callable[[], None], detector: Detector
    ) -> None:
        """While the client is silent, find out whether the server speaks first; if so, relay."""
        candidate = backend.balancer.pick()
        if candidate is None:
            return
        try:
            other = await self._reach.open(candidate, Protocol.TCP)
        except Refusal:
            return

        def spoke(early: bytes, said: bytes) -> None:
            backend.seen_first = True
            candidate.in_flight += 1
            counter = self._reach.counter(backend, candidate, "tcp")
            self._join(stream, early, other, counter, left, candidate, said)

        detector.listen_ahead(other, spoke)

    async def _awaited(self, backend: Backend) -> Candidate | None:
        """An endpoint, as soon as one is ready; None if none is in time, or too many wait for it."""
        if self._waiting[backend] >= QUEUE_LIMIT:
            return None
        self._waiting[backend] += 1
        candidate = None
        try:
            with anyio.move_on_after(FAILFAST_SECONDS):
                while candidate is None:
                    await self._update(backend)
                    candidate = backend.balancer.pick()
        finally:
            self._waiting[backend] -= 1
            if not self._waiting[backend]:
                del self._waiting[backend]
        return candidate

    async def _update(self, backend: Backend) -> None:
        updated = anyio.Event()
        backend.balancer.on_update(updated.set)
        try:
            await updated.wait()
        finally:
            backend.balancer.forget(updated.set)

    async def to_address(
        self, stream: Stream, early: bytes, address: Address, left: Callable[[], None]
    ) -> None:
        """Relay to where the connection was going."""
        counter = self._reach.passed(*address)
        try:
            other = await self._connector.plain(*address)
        except Refusal as error:
            self._give_up(stream, counter, error, left)
        else:
            self._join(stream, early, other, counter, left, None)

    def _join(
        self,
        stream: Stream,
        early: bytes,
        other: Stream,
        counter: Counter,
        left: Callable[[], None],
        candidate: Candidate | None,
        said: bytes = b"",
    ) -> None:
        began = self._loop.time()
        counter.opened(began)

        def ended(error: Exception | None, from_client: int, from_endpoint: int) -> None:
            now = self._loop.time()
            if candidate is not None:
                candidate.in_flight -= 1
            counter.bytes_written += from_client
            counter.bytes_read += from_endpoint
            counter.closed(error, now - began, now)
            left()

        Relay(stream, other, ended).start(early, said)

    def _give_up(
        self, stream: Stream, counter: Counter, error: MeshError, left: Callable[[], None]
    ) -> None:
        now = self._loop.time()
        counter.opened(now)
        counter.closed(error, 0.0, now)
        reset(stream)
        left()
