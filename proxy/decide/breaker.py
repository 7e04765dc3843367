"""Is an endpoint fit to be asked? Too many failures in a row shut it out; one probe lets it back in.

What counts as a failure is for whoever asked to say. An endpoint that is shut out is let alone for a
penalty, which doubles each time a probe fails; then one request is its probe.
"""

import enum
from collections.abc import Callable

from common.contract.discovery import FailureAccrual


class State(enum.Enum):
    """Whether requests may go there."""

    CLOSED = "closed"
    """As they like."""
    OPEN = "open"
    """None, until the penalty is over."""
    PROBING = "probing"
    """One has been sent to see how it fares."""


class Event(enum.Enum):
    """What may happen to a breaker."""

    TRIPPED = "tripped"
    WAITED = "waited"
    PASSED = "passed"
    FAILED = "failed"
    VANISHED = "vanished"
    """The probe ended, but not by what the endpoint did: its client left, say."""


TRANSITIONS = {
    (State.CLOSED, Event.TRIPPED): State.OPEN,
    (State.OPEN, Event.WAITED): State.PROBING,
    # In a panic those that are shut out are asked all the same.
    (State.OPEN, Event.PASSED): State.CLOSED,
    # The probe takes its time: another one may go.
    (State.PROBING, Event.WAITED): State.PROBING,
    (State.PROBING, Event.PASSED): State.CLOSED,
    (State.PROBING, Event.FAILED): State.OPEN,
    (State.PROBING, Event.VANISHED): State.OPEN,
}


class Breaker:
    """What one client knows of one endpoint's failures. Times are monotonic seconds."""

    __slots__ = (
        "_failures",
        "_penalties",
        "_since",
        "fares_well",
        "penalty",
        "rules",
        "state",
        "until",
    )

    def __init__(self, rules: FailureAccrual) -> None:
        self.rules = rules
        self.state = State.CLOSED
        self.until = 0.0
        """While it is not closed: when a probe may go."""
        self.penalty = 0.0
        """Seconds of the penalty in force."""
        self.fares_well: Callable[[], bool] | None = None
        """Asked of a probe that has not ended when another may go: does its answer look good so far?"""
        self._failures = 0
        self._penalties = 0
        self._since = 0.0

    def __repr__(self) -> str:
        return f"<Breaker {self.state.value} failures={self._failures} penalty={self.penalty:.1f}s>"

    def passed(self, started: float) -> bool:
        """A request sent at `started` went well; true if that closed the breaker."""
        if self.state is State.CLOSED:
            self._failures = 0
            return False
        return started >= self._since and self._hear(Event.PASSED)

    def failed(self, started: float, now: float, chance: float) -> bool:
        """A request sent at `started` failed; true if that opened the breaker.

        `chance` in [0, 1) lengthens the penalty, so that clients do not all come back in one instant.
        What was sent before the breaker opened says nothing that was not known then.
        """
        if self.state is State.CLOSED:
            self._failures += 1
            if self._failures < self.rules.max_failures:
                return False
            opened = self._hear(Event.TRIPPED)
        else:
            opened = started >= self._since and self._hear(Event.FAILED)
        if opened:
            rules = self.rules
            base = min(rules.min_penalty * 2.0**self._penalties, rules.max_penalty)
            self.penalty = min(base * (1 + rules.jitter_ratio * chance), rules.max_penalty)
            self._penalties = min(self._penalties + 1, 64)
            self._since = now
            self.until = now + self.penalty
        return opened

    def probe(self, now: float) -> bool:
        """The penalty is over and a request goes there; true if an earlier probe closed the breaker.

        While the probe lasts, another may go after each further penalty: a probe that never ends
        must not shut an endpoint out for ever.
        """
        if self.fares_well is not None and self.fares_well():
            return self._hear(Event.PASSED)
        self._hear(Event.WAITED)
        self.until = now + self.penalty
        return False

    def vanished(self, started: float, now: float) -> bool:
        """A request sent at `started` ended without a verdict; true if another probe may go now."""
        if started < self._since or not self._hear(Event.VANISHED):
            return False
        self.until = now
        return True

    def _hear(self, event: Event) -> bool:
        """Whether the event meant something in this state; what is not in the table does not."""
        after = TRANSITIONS.get((self.state, event))
        if after is None:
            return False
        self.state = after
        if after is not State.PROBING:
            self.fares_well = None
        if after is State.CLOSED:
            self._failures = self._penalties = 0
        return True
