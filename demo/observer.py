"""Asks telemetry how the demo goes, and knows when all proxies have told of everything."""

import anyio

from common.bus import Bus
from common.clock import SystemClock
from common.contract import subjects
from common.contract.telemetry import EdgeRow, EdgesRequest, Report
from demo.layout import Layout

LIVE_SECONDS = 10.0
LONGEST_SECONDS = 3600.0
_REPORT_DEADLINE = 10.0
_SETTLE_SECONDS = 0.2


class Observer:
    """Listens to the proxies' reports on the bus and asks telemetry about them."""

    def __init__(self, bus: Bus, layout: Layout) -> None:
        self._bus = bus
        self._expected = {r.name.name for r in layout.replicas if r.workload.meshed}
        self._told: dict[str, float] = {}
        self._errors: dict[str, int] = {}
        self._news = anyio.Event()

    async def start(self) -> None:
        """Begin to listen."""
        await self._bus.listen(subjects.metrics_any(), self._hear)

    async def edges(self, window: float) -> tuple[EdgeRow, ...]:
        """Who talked to whom in the last `window` seconds; raises BusUnavailable."""
        window = max(1.0, min(window, LONGEST_SECONDS))
        reply = await self._bus.request(subjects.edges(), EdgesRequest(window=window))
        return reply.rows

    async def settled(self, window: float) -> tuple[EdgeRow, ...]:
        """The edges once every proxy has told of what is over by now, and telemetry has heard it.

        Gives what there is if a proxy stays silent for ten seconds.
        """
        since = SystemClock.now()
        with anyio.move_on_after(_REPORT_DEADLINE):
            while any(self._told.get(name, 0.0) <= since for name in self._expected):
                await self._news.wait()
            # We have heard the last report; telemetry may still be reading it.
            before = await self.edges(window)
            while True:
                await anyio.sleep(_SETTLE_SECONDS)
                after = await self.edges(window)
                if requests(after) == requests(before):
                    return after
                before = after
        return await self.edges(window)

    @property
    def errors(self) -> int:
        """Requests that proxies had to answer themselves, as their workloads' programs saw it."""
        return sum(self._errors.values())

    def _hear(self, _subject: str, report: Report) -> None:
        outbound = [series for series in report.series if series.direction == "outbound"]
        self._errors[report.workload] = sum(sum(series.errors.values()) for series in outbound)
        self._told[report.workload] = report.time
        self._news.set()
        self._news = anyio.Event()


def requests(rows: tuple[EdgeRow, ...]) -> int:
    """All requests of all edges."""
    return sum(row.figures.requests for row in rows)
