"""Bytes that wait in streams of HTTP/2 for a window or a socket: counted, and bounded.

A connection may have as much waiting as is left for all others. One alone gets half of the limit, and
however many greedy ones there are, a newcomer finds room: with n of them, one part in n + 1.
"""

TOTAL_LIMIT = 64 * 1024 * 1024
"""Bytes that wait on all connections."""


class Backlog:
    """What waits on one connection. `Backlog.total` is what waits on all of them: a gauge."""

    __slots__ = ("size",)

    total = 0

    def __init__(self) -> None:
        self.size = 0

    def __repr__(self) -> str:
        return f"<Backlog {self.size} of {Backlog.total}>"

    def add(self, size: int) -> bool:
        """Count `size` bytes more; false, and nothing is counted, if there is no room for them."""
        if self.size + size > TOTAL_LIMIT - Backlog.total - size:
            return False
        self.size += size
        Backlog.total += size
        return True

    def remove(self, size: int) -> None:
        """They went out, or are not wanted any more."""
        self.size -= size
        Backlog.total -= size
