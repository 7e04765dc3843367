"""Retained documents of identity, kept on the bus as they are to be; written only if they are not."""

from typing import Generic, TypeVar

from common.bus import Bus
from common.clock import Clock
from common.contract.topic import Document, State
from common.errors import BusUnavailable, InvalidMessage

M = TypeVar("M", bound=Document)

AGAIN_SECONDS = 30.0
"""How often to see to it that a document is still there: a stream can be lost."""


class Kept(Generic[M]):
    """One document, by the one replica that holds the lease."""

    def __init__(self, bus: Bus, state: State[M], clock: Clock) -> None:
        self.state = state
        self.revision = 0
        """Of what was published last, or found."""
        self._bus = bus
        self._clock = clock
        self._published: M | None = None
        self._again = 0.0

    async def publish(self, wanted: M) -> bool:
        """Write it over what is there, if it differs; says whether it did.

        Raises BusUnavailable, and RevisionConflict if somebody else wrote meanwhile.
        """
        now = self._clock.monotonic()
        if wanted == self._published and now < self._again:
            return False
        self._published = None
        revision = 0
        try:
            found = await self._bus.get(self.state)
            revision = found.revision if found else 0
            differs = found is None or found.message != wanted
        except InvalidMessage:
            revision, differs = await self._revision_of_damage(), True
        if differs:
            revision = await self._bus.put(self.state, wanted, expected=revision)
        self.revision, self._published, self._again = revision, wanted, now + AGAIN_SECONDS
        return differs

    async def _revision_of_damage(self) -> int:
        """What is there is no such document: it is written over all the same."""
        anything = State(self.state.stream, self.state.subject, Document)
        try:
            found = await self._bus.get(anything)
        except InvalidMessage as error:
            raise BusUnavailable(f"what is there is no document: {error}") from None
        return found.revision if found else 0
