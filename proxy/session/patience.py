"""How much busywork one HTTP/2 peer may cause before it is asked to calm down, by leaving.

Frames that cost us work and bring no traffic (PING, SETTINGS, PRIORITY, empty DATA, …; RFC 9113 §10.5),
and streams that are reset before they end (CVE-2023-44487, CVE-2025-8671). What a peer is forgiven grows
with time, and with the streams that it opened: a busy one may say more than an idle one, and one whose
users change their minds is no attacker as long as it does not cancel most of what it asks for.
"""

from proxy.codec.frames import Code, ConnectionBroken

CHORES_PER_SECOND = 1000
CHORES_PER_STREAM = 10
CHORES_AT_ONCE = 10_000
"""Busywork frames that are forgiven each second, for each stream, and that may come at once."""
RESETS_PER_SECOND = 100
RESETS_PER_STREAM = 0.5
RESETS_AT_ONCE = 2000
"""The same for reset streams."""
SMALL_INCREMENT = 512
"""A window that is opened by less than this, and was not used before, is busywork."""


class Patience:
    """Two leaky buckets; `chore` and `reset` raise ConnectionBroken when one runs over.

    Both are told the time in seconds, and how many streams were opened so far.
    """

    __slots__ = ("_chores", "_looked_at", "_opened", "_resets")

    def __init__(self) -> None:
        self._chores = 0.0
        self._resets = 0.0
        self._looked_at = 0.0
        self._opened = 0

    def chore(self, now: float, opened: int) -> None:
        """One more frame of busywork."""
        self._leak(now, opened)
        self._chores += 1
        if self._chores > CHORES_AT_ONCE:
            raise ConnectionBroken(Code.ENHANCE_YOUR_CALM, "busywork")

    def reset(self, now: float, opened: int) -> None:
        """One more stream that was reset."""
        self._leak(now, opened)
        self._resets += 1
        if self._resets > RESETS_AT_ONCE:
            raise ConnectionBroken(Code.ENHANCE_YOUR_CALM, "resets")

    def _leak(self, now: float, opened: int) -> None:
        passed, new = now - self._looked_at, opened - self._opened
        if passed > 0 or new:
            self._looked_at, self._opened = now, opened
            chores = passed * CHORES_PER_SECOND + new * CHORES_PER_STREAM
            resets = passed * RESETS_PER_SECOND + new * RESETS_PER_STREAM
            self._chores = max(0.0, self._chores - chores)
            self._resets = max(0.0, self._resets - resets)
