"""Connections with mutual TLS, each with the revision of the trust bundle that it began under."""

from collections.abc import Iterator
from weakref import WeakSet

from proxy.transport.stream import Stream
from proxy.transport.tls import TRUST_REVISION, Tls


class Sealed:
    """Those that are open, and some that were."""

    def __init__(self) -> None:
        self._all: WeakSet[Tls] = WeakSet()

    def add(self, connection: Tls, revision: int) -> None:
        """One more."""
        connection.trust_revision = revision
        self._all.add(connection)

    def abort_before(self, revision: int) -> int:
        """Close at once what began under an older bundle; says how many there were."""
        old = list(self._older(revision))
        for connection in old:
            connection.lose(ConnectionResetError("what it was trusted by is gone"))
        return len(old)

    def _older(self, revision: int) -> Iterator[Tls]:
        for connection in self._all:
            began = connection.trust_revision
            if began is not None and began < revision and not connection.is_closing():
                yield connection


def began_before(stream: Stream, revision: int) -> bool:
    """Whether a stream is one of mutual TLS that began under an older bundle."""
    began = stream.get_extra_info(TRUST_REVISION)
    return began is not None and began < revision
