"""What is on the bus, as far as this replica has read it or written it.

It is read a page at a time. Law: once a reading has come to its end, of each document either its revision is
known or its key has been told as in doubt.
"""

from collections.abc import AsyncGenerator, Collection, Iterator
from contextlib import aclosing

from common.bus import Bus, Revision
from common.contract import subjects
from common.contract.topic import Document
from common.errors import InvalidName
from services.destination.keys import Key, key_of


class Published:
    """The living documents by their keys; a tombstone is as good as nothing."""

    def __init__(self, bus: Bus) -> None:
        self.known = False
        """It has been read to its end since the last `forget`."""
        self._bus = bus
        self._found: dict[Key, Revision[Document]] = {}
        self._unseen: set[Key] = set()
        """What this reading has not come upon yet, and nobody here has written since it began."""

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._found)

    def get(self, key: Key) -> Revision[Document] | None:
        """What was read or written last; None: nothing, or a tombstone."""
        return self._found.get(key)

    def forget(self) -> None:
        """Others may write from now on."""
        self.known = False
        self._found.clear()
        self._unseen.clear()

    def wrote(self, key: Key, revision: Revision[Document]) -> None:
        """This is there now."""
        self._unseen.discard(key)
        if revision.message.deleted:
            # Not kept, or memory would grow with all that ever was; writing it anew meets a conflict.
            self._found.pop(key, None)
        else:
            self._found[key] = revision

    async def read(self) -> AsyncGenerator[Collection[Key], None]:
        """Read all; after each page, which of it is other than was known. Raises BusUnavailable.

        In between one may write, if it was known before.
        """
        self._unseen = set(self._found)
        for pattern in subjects.discovery_any():
            async with aclosing(self._bus.scan(pattern)) as pages:
                async for page in pages:
                    yield self._learn(page)
        lost, self._unseen = self._unseen, set()
        for key in lost:
            del self._found[key]
        self.known = True
        yield lost

    def _learn(self, page: dict[str, Revision[Document]]) -> set[Key]:
        news = set[Key]()
        for subject, revision in page.items():
            key = _key_at(subject, revision.message)
            if key is None or revision.message.deleted:
                continue
            known = self._found.get(key)
            # A late replica may still hold what has been written over since this reading began.
            believed = known is None or key in self._unseen or revision.revision > known.revision
            self._unseen.discard(key)
            if believed and (known is None or revision.revision != known.revision):
                self._found[key] = revision
                news.add(key)
        return news


def _key_at(subject: str, document: Document) -> Key | None:
    """The key of a document found on the bus; None if it does not belong where it was found."""
    try:
        key = key_of(document)
    except InvalidName:
        return None
    return key if key.state.subject == subject else None
