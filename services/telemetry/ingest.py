"""Hears reports and sees to it that each speaks only of its own sender.

The bus lets a proxy publish under its own name and no other (see identity's permissions), so the subject
tells who speaks; a report that names somebody else is left aside and counted.
"""

import logging

from common.clock import Clock
from common.contract import subjects
from common.contract.telemetry import Report
from common.errors import InvalidName
from common.log import fields
from common.names import WorkloadName
from services.telemetry.ledger import Ledger

log = logging.getLogger("telemetry")


class Ingest:
    """Takes reports off the bus into the ledger, by the moment of their receipt."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._complained: set[str] = set()

    def hear(self, subject: str, report: Report) -> None:
        """Take in a report that came on `subject`."""
        if not _own(subject, report):
            self._ledger.outcomes["foreign"] += 1
            self._complain("a report names another than its sender", subject)
            return
        refused = self._ledger.refused
        outcome = self._ledger.apply(report, self._clock.monotonic())
        if outcome == "refused":
            self._complain("no room for another proxy", subject)
        if self._ledger.refused > refused:
            self._complain("a report has series that are absurd or too many", subject)

    def _complain(self, what: str, subject: str) -> None:
        """Once per kind; how often is on /metrics."""
        if what not in self._complained:
            self._complained.add(what)
            log.warning("%s (said once; counted on /metrics)", what, extra=fields(subject=subject))


def _own(subject: str, report: Report) -> bool:
    try:
        name = WorkloadName(report.namespace, report.workload)
    except InvalidName:
        return False
    return subjects.metrics(name).subject == subject
