"""Telemetry on a given bus: hears every report, answers questions, shows its metrics.

Every replica hears everything and may answer anything; one that has not listened for as long as the
window says so in `covered`.
"""

from typing import TypeVar

import msgspec

from common.admin import Admin, Answer, ready
from common.bus import Bus, Endpoint
from common.clock import Clock, SystemClock
from common.contract import subjects
from common.contract.telemetry import EdgesReply, EdgesRequest, StatReply, StatRequest
from common.contract.topic import Question
from common.errors import Refused
from common.version import VERSION
from services.telemetry import queries
from services.telemetry.exposition import CONTENT_TYPE, exposition
from services.telemetry.ingest import Ingest
from services.telemetry.ledger import Ledger
from services.telemetry.totals import Totals

QUEUE = "telemetry"
MOST_BYTES = 900_000
"""Of an answer; NATS carries messages of up to a megabyte."""

Q = TypeVar("Q", bound=msgspec.Struct)
A = TypeVar("A", bound=msgspec.Struct)


class Telemetry:
    """The service, from `start` on for as long as the bus lives."""

    def __init__(self, bus: Bus, clock: Clock | None = None) -> None:
        self._bus = bus
        self._clock = clock or SystemClock()
        self.totals = Totals()
        # Listening begins with the first connection.
        self.ledger = Ledger(float("inf"), self.totals.grow)
        self._text = exposition(self.ledger, self.totals, self._clock.monotonic)

    async def start(self) -> None:
        """Hear and answer from the first connection on; returns at once."""
        ingest = Ingest(self.ledger, self._clock)
        self._bus.connected.on_change(self._listening)
        self._listening(self._bus.connected.value)
        await self._bus.listen(subjects.metrics_any(), ingest.hear)
        stat = Endpoint(subjects.stat(), self._stat)
        edges = Endpoint(subjects.edges(), self._edges)
        await self._bus.serve("telemetry", VERSION, [stat, edges], queue=QUEUE)

    def admin(self, listen: str) -> Admin:
        """The admin port: /live, /ready, /metrics."""
        connected = self._bus.connected
        return Admin(listen, {"/ready": ready(lambda: connected.value), "/metrics": self._metrics})

    def _listening(self, connected: bool) -> None:
        if connected:
            self.ledger.since = min(self.ledger.since, self._clock.monotonic())

    async def _stat(self, _subject: str, request: StatRequest) -> StatReply:
        reply = queries.stat(self.ledger, request, self._clock.monotonic())
        return _fitting(subjects.stat(), reply, len(reply.rows))

    async def _edges(self, _subject: str, request: EdgesRequest) -> EdgesReply:
        reply = queries.edges(self.ledger, request, self._clock.monotonic())
        return _fitting(subjects.edges(), reply, len(reply.rows))

    def _metrics(self) -> Answer:
        return 200, CONTENT_TYPE, self._text()


def _fitting(question: Question[Q, A], reply: A, rows: int) -> A:
    if len(question.answer.encode(reply)) > MOST_BYTES:
        raise Refused(
            f"{rows} rows are more than one message carries: ask for one namespace or name"
        )
    return reply
