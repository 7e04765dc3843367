"""Requests that wait for a backend to have an endpoint: first come, first served, and not for long."""

from collections.abc import Callable

from proxy.control.discovery import Backend
from proxy.decide.candidate import Candidate
from proxy.refusals import NoEndpoints, Overloaded
from proxy.session.deadlines import Deadline, Deadlines
from proxy.session.exchange import Exchange

FAILFAST_SECONDS = 3.0
"""A request waits so long for an endpoint to become ready, then it is refused."""
QUEUE_LIMIT = 100
"""Requests that may wait so at a time, for each backend."""


class Queue:
    """The requests that wait for one backend; `send` is called for each when there is an endpoint."""

    def __init__(
        self, backend: Backend, deadlines: Deadlines, send: Callable[[Exchange, Candidate], None]
    ) -> None:
        self._backend = backend
        self._deadlines = deadlines
        self._send = send
        self._waiting: dict[Exchange, Deadline] = {}

    def __repr__(self) -> str:
        return f"<Queue {self._backend} {len(self)}>"

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, exchange: Exchange, now: float) -> None:
        """Let it wait from `now` (loop time); it is refused if too many do, or when that takes too long."""
        if len(self._waiting) >= QUEUE_LIMIT:
            exchange.refuse(Overloaded(f"{QUEUE_LIMIT} requests wait for {self._backend.service}"))
            return
        self._waiting[exchange] = self._deadlines.add(
            now + FAILFAST_SECONDS,
            lambda: exchange.refuse(NoEndpoints(f"none of {self._backend.service} is ready")),
        )
        self._backend.balancer.on_update(self._updated)

    def discard(self, exchange: Exchange) -> None:
        """It waits no longer, if it did."""
        deadline = self._waiting.pop(exchange, None)
        if deadline is not None:
            self._deadlines.discard(deadline)
        if not self._waiting:
            self._backend.balancer.forget(self._updated)

    def _updated(self) -> None:
        """The endpoints are others now: send what can be sent."""
        for exchange in list(self._waiting):
            candidate = self._backend.balancer.pick()
            if candidate is None:
                self._backend.balancer.on_update(self._updated)
                return
            self.discard(exchange)
            self._send(exchange, candidate)
