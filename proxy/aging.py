"""No connection outlives what it was trusted by for long: an anchor that is gone, or our own leaf.

Sessions are asked to end once nothing is on their way, so that no request is lost. What never ends by
itself, such as a tunnel, is cut after a while.
"""

import logging
import sys
from collections.abc import Callable
from typing import Protocol

import anyio

from common.clock import Clock
from common.latest import Latest
from common.log import fields
from proxy.control.certify import Held

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
GONE_SECONDS = 3600.0
"""How long a tunnel may outlive the anchor that it began under."""
EXPIRED_SECONDS = 30.0
"""How long one may outlive our own leaf."""
_EVERY = sys.maxsize


class Side(Protocol):
    """One side of the proxy."""

    def retire_before(self, revision: int) -> None:
        """Let sessions that began under an older trust bundle end, once nothing is on their way."""
        ...

    def cut_before(self, revision: int) -> int:
        """End what is left of them; says how many connections that were."""
        ...


class Aging:
    """Watches over both sides. `removed_at`: the bundle from which on an anchor is gone; 0: none is."""

    def __init__(
        self,
        credentials: Latest[Held | None],
        removed_at: Callable[[], int],
        clock: Clock,
        *sides: Side,
    ) -> None:
        self._credentials = credentials
        self._removed_at = removed_at
        self._clock = clock
        self._sides = sides
        self._gone: tuple[int, float] = 0, 0.0
        self._expired_at: float | None = None

    async def run(self) -> None:
        """Look every second, for ever."""
        while True:
            self.look()
            await anyio.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Retire what is too old now, and cut what was so for too long."""
        now = self._clock.monotonic()
        self._look_at_anchors(now)
        self._look_at_leaf(now)

    def _look_at_anchors(self, now: float) -> None:
        revision = self._removed_at()
        if revision != self._gone[0]:
            self._gone = revision, now
        if revision:
            # Each time: a handshake may have begun before.
            self._retire(revision, cut=now - self._gone[1] >= GONE_SECONDS)

    def _look_at_leaf(self, now: float) -> None:
        held = self._credentials.value
        if held is None or held.valid(self._clock.now()):
            if self._expired_at is not None:
                log.info("there is a valid certificate again")
            self._expired_at = None
            return
        if self._expired_at is None:
            self._expired_at = now
            log.error("the certificate has expired: no mutual TLS until there is another")
        self._retire(_EVERY, cut=now - self._expired_at >= EXPIRED_SECONDS)

    def _retire(self, revision: int, *, cut: bool) -> None:
        for side in self._sides:
            side.retire_before(revision)
        if cut and (ended := sum(side.cut_before(revision) for side in self._sides)):
            log.warning("cut off what was trusted no more", extra=fields(connections=ended))
