"""One document that the proxy follows on the bus, with what it kept from before as a beginning."""

from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from common.bus import Bus
from common.contract.topic import State
from proxy.control.kept import Kept

M = TypeVar("M", bound=msgspec.Struct)


class Watch(Generic[M]):
    """The document as it is now. `changed()` is called after each change, and when it became known."""

    def __init__(self, bus: Bus, kept: Kept, state: State[M], changed: Callable[[], None]) -> None:
        self._kept = kept
        self._state = state
        self._changed = changed
        self.document: M | None = None
        """None if nothing is there; a tombstone counts as nothing."""
        self.revision = 0
        self.known = False
        """The bus has answered, or it was known before the restart."""
        before = kept.get(state)
        if before is not None:
            self.document, self.revision = before
            self.known = True
        self._follower = bus.follow(state, self._apply)

    def __repr__(self) -> str:
        return f"<Watch {self._state.subject} revision={self.revision}>"

    @property
    def subject(self) -> str:
        """Where the document is."""
        return self._state.subject

    def close(self) -> None:
        """Follow it no more, and keep it no more."""
        self._follower.close()
        self._kept.drop(self._state)

    def _apply(self, document: M | None, revision: int) -> None:
        gone = document is None or getattr(document, "deleted", False)
        if gone:
            self._kept.drop(self._state)
        elif document is not None:
            self._kept.put(self._state, document, revision)
        self.document = None if gone else document
        self.revision = revision
        self.known = True
        self._changed()
