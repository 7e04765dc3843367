"""What was read before: heads by the very bytes they came in.

Traffic repeats itself; a head that was read once need not be read again. What is remembered is
immutable and shared. Bounded for each connection, and for all of them together: HPACK lets a few
bytes stand for a long head, so it is what a head holds that is counted.
"""

from typing import Generic, TypeVar

H = TypeVar("H")

ENTRY_BYTES = 1024
"""Heads that came in more bytes are not remembered."""
SIZE_LIMIT = 4096
"""Nor are those whose fields hold more."""
MEMO_LIMIT = 64
"""Heads remembered by one connection, of those with a body to follow and of those without."""
TOTAL_BYTES = 16 * 1024 * 1024
"""What the heads remembered by all connections may hold."""
_COPIES = 3
"""A head is kept as it was read, as it goes on, and as the bytes that it goes on as."""


class Memo(Generic[H]):
    """Heads of one connection, by their bytes and whether a body follows."""

    __slots__ = ("_bytes", "known")

    total = 0
    """What is remembered by all connections, in bytes: a gauge."""

    def __init__(self) -> None:
        self.known: tuple[dict[bytes, H], dict[bytes, H]] = ({}, {})
        """What is remembered; to be looked into, and changed by `put` and `clear` only."""
        self._bytes = 0

    def __del__(self) -> None:
        self.clear()

    def get(self, raw: bytes, end: bool) -> H | None:
        """The head that these bytes are, if they were seen lately."""
        return self.known[end].get(raw)

    def put(self, raw: bytes, end: bool, head: H, size: int = 0) -> None:
        """Remember a head whose fields hold `size` bytes (if that is not what came), if there is room."""
        length = len(raw)
        size = size or length
        cost = length + _COPIES * size
        if length > ENTRY_BYTES or size > SIZE_LIMIT:
            return
        if len(self.known[end]) >= MEMO_LIMIT:
            self.clear()
        if Memo.total + cost > TOTAL_BYTES:
            return
        self.known[end][raw] = head
        self._bytes += cost
        Memo.total += cost

    def clear(self) -> None:
        """Forget all: the bytes mean something else now."""
        Memo.total -= self._bytes
        self._bytes = 0
        for known in self.known:
            known.clear()
