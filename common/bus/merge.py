"""Which of all the sightings of a document is the one to believe. No I/O, no time.

A follower sees a document in two ways: it *hears* each new revision (in order, but some may be lost
while the connection is), and it *gets* what some replica of the stream holds (perhaps a little old).

Law: whatever is lost, doubled, late or stale, the revisions applied strictly increase; and once
everything said has arrived or a fresh get has answered, the newest document is the one applied.
"""

from typing import Generic, NamedTuple, TypeVar

from common.contract.topic import Document

M = TypeVar("M")


class Change(NamedTuple, Generic[M]):
    """What a follower is to be told: the document and its revision; None and 0 if there is none."""

    document: M | None
    revision: int


class Merge(Generic[M]):
    """What is believed of one document so far."""

    __slots__ = ("_floor", "document", "gaps", "known", "revision")

    def __init__(self) -> None:
        self.document: M | None = None
        self.revision = 0
        """The revision of `document`; 0 if there is none."""
        self.known = False
        """Something has been heard, or a get has answered: absence, too, is knowledge."""
        self.gaps = 0
        """How often a revision was heard whose predecessor was not."""
        self._floor = 0
        """The newest revision ever seen: an expired tombstone's still holds back what is older."""

    def heard(self, document: M, revision: int, previous: int) -> Change[M] | None:
        """A new revision was published; `previous` is the one that it replaced, 0 if none."""
        if self.known and revision > self._floor and previous > self._floor:
            self.gaps += 1
        return self._newer(document, revision)

    def got(self, document: M, revision: int) -> Change[M] | None:
        """A replica holds this."""
        return self._newer(document, revision)

    def got_nothing(self) -> Change[M] | None:
        """A replica holds nothing.

        Only a tombstone may vanish (its time to live ran out). That a living document is not there says
        that the replica is late or has lost its store, and what is known outlives that.
        """
        first, self.known = not self.known, True
        if self.document is None:
            return Change(None, 0) if first else None
        if not (isinstance(self.document, Document) and self.document.deleted):
            return None
        self.document, self.revision = None, 0
        return Change(None, 0)

    def _newer(self, document: M, revision: int) -> Change[M] | None:
        if revision <= self._floor:
            return None
        self.document = document
        self.revision = self._floor = revision
        self.known = True
        return Change(document, revision)
