"""How much busywork one HTTP/2 peer may cause before it is asked to calm down, by leaving.

Frames that cost us work and bring no traffic (PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA, …;
RFC 9113 §10.5), and streams that are reset before they end (CVE-2023-44487, CVE-2025-8671).
"""

from proxy.codec.frames import Code, ConnectionBroken

CHORES_PER_SECOND = 1000
"""Busywork frames that are forgiven each second; ten times as many may come at once."""
RESETS_PER_SECOND = 100
"""Reset streams that are forgiven each second; twenty times as many may come at once."""
_CHORES = 10 * CHORES_PER_SECOND
_RESETS = 20 * RESETS_PER_SECOND


class Patience:
    """Two leaky buckets; `chore` and `reset` raise ConnectionBroken when one runs over."""

    __slots__ = ("_chores", "_looked_at", "_resets")

    def __init__(self) -> None:
        self._chores = 0.0
        self._resets = 0.0
        self._looked_at = 0.0

    def chore(self, now: float) -> None:
        """One more frame of busywork; `now` in seconds."""
        self._leak(now)
        self._chores += 1
        if self._chores > _CHORES:
            raise ConnectionBroken(Code.ENHANCE_YOUR_CALM, "busywork")

    def reset(self, now: float) -> None:
        """One more stream that was reset; `now` in seconds."""
        self._leak(now)
        self._resets += 1
        if self._resets > _RESETS:
            raise ConnectionBroken(Code.ENHANCE_YOUR_CALM, "resets")

    def _leak(self, now: float) -> None:
        passed = now - self._looked_at
        if passed > 0:
            self._looked_at = now
            self._chores = max(0.0, self._chores - passed * CHORES_PER_SECOND)
            self._resets = max(0.0, self._resets - passed * RESETS_PER_SECOND)
