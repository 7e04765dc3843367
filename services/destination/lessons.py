"""What proxies learned about their applications: the ports on which these speak first.

Law: the order in which lessons are heard makes no difference, as long as they are not too many.
"""

from common.names import WorkloadName
from services.destination.resources import Spoke

LIMIT = 100_000
"""Workloads of which something is remembered; beyond it the longest known are forgotten."""
MOST_PORTS = 64
"""Ports of one workload that are remembered: more are not worth believing."""
_NONE: frozenset[int] = frozenset()


class Lessons:
    """Ports that speak first, by workload and uid."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._ports: dict[tuple[WorkloadName, str], frozenset[int]] = {}

    def note(self, word: Spoke) -> bool:
        """Remember a word; False if it is nothing new."""
        key = (word.workload, word.uid)
        known = self._ports.get(key, _NONE)
        if word.port in known or len(known) >= MOST_PORTS:
            return False
        self._ports[key] = known | {word.port}
        if len(self._ports) > self._limit:
            del self._ports[next(iter(self._ports))]
        return True

    def ports(self, workload: WorkloadName, uid: str) -> frozenset[int]:
        """The ports on which this workload speaks first, as far as is known."""
        return self._ports.get((workload, uid), _NONE)
