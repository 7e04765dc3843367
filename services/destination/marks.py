"""What proxies said about themselves: whether a workload is leaving. The newest word counts.

Law: the order in which words are heard makes no difference.
"""

import msgspec

from common.names import WorkloadName
from services.destination.resources import Heard

LIMIT = 100_000
"""Words remembered; beyond it the longest known are forgotten."""


class Mark(msgspec.Struct, frozen=True, order=True):
    """A word on one workload. At the same instant, leaving wins."""

    time: float
    leaving: bool


class Marks:
    """The newest word by workload and uid."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._marks: dict[WorkloadName, dict[str, Mark]] = {}
        self._count = 0

    def note(self, word: Heard) -> bool:
        """Remember a word; False if a newer one is known."""
        mark = Mark(word.time, word.leaving)
        known = self._marks.setdefault(word.workload, {})
        if word.uid in known and known[word.uid] >= mark:
            return False
        self._count += word.uid not in known
        known[word.uid] = mark
        while self._count > self._limit:
            self._count -= len(self._marks.pop(next(iter(self._marks))))
        return True

    def leaving(self, workload: WorkloadName, uid: str) -> bool:
        """Whether the newest word on this workload is that it leaves; no uid, on either side, is any."""
        known = self._marks.get(workload)
        if not known:
            return False
        words = known.values() if not uid else (known[u] for u in ("", uid) if u in known)
        latest = max(words, default=None)
        return latest is not None and latest.leaving
