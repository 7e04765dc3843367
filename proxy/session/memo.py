"""What was read before: heads by the very bytes they came in.

Traffic repeats itself; a head that was read once need not be read again. What is remembered is
immutable and shared. Bounded for each connection, and for all of them together.
"""

from typing import Generic, TypeVar

H = TypeVar("H")

ENTRY_BYTES = 1024
"""Longer heads are not remembered."""
MEMO_LIMIT = 64
"""Heads remembered by one connection."""
TOTAL_LIMIT = 16_384
"""Heads remembered by all connections."""


class Memo(Generic[H]):
    """Heads of one connection, by their bytes and whether a body follows."""

    __slots__ = ("_known",)

    total = 0

    def __init__(self) -> None:
        self._known: tuple[dict[bytes, H], dict[bytes, H]] = ({}, {})

    def __del__(self) -> None:
        self.clear()

    def get(self, raw: bytes, end: bool) -> H | None:
        """The head that these bytes are, if they were seen lately."""
        return self._known[end].get(raw)

    def put(self, raw: bytes, end: bool, head: H) -> None:
        """Remember a head, if there is room."""
        known = self._known[end]
        if len(raw) > ENTRY_BYTES or Memo.total >= TOTAL_LIMIT:
            return
        if len(known) >= MEMO_LIMIT:
            Memo.total -= len(known)
            known.clear()
        known[raw] = head
        Memo.total += 1

    def clear(self) -> None:
        """Forget all: the bytes mean something else now."""
        for known in self._known:
            Memo.total -= len(known)
            known.clear()
