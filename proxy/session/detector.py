"""Waits for a connection's first bytes, until they say what it speaks."""

import asyncio
from collections.abc import Callable

from proxy.transport.detect import Protocol, detect
from proxy.transport.stream import Stream, pause, resume
from proxy.transport.sweep import NEVER, Sweep
from proxy.transport.waiting import adopt

DETECT_SECONDS = 10.0
"""A client that is silent for so long waits for the server to speak: opaque."""


class Detector(asyncio.Protocol):
    """Calls `found(protocol, early)` once, with reading paused and the bytes that were read.

    `gone()` is called instead if the client left before it was told.
    """

    def __init__(
        self,
        stream: Stream,
        sweep: Sweep,
        found: Callable[[Protocol, bytes], None],
        gone: Callable[[], None],
    ) -> None:
        self._stream = stream
        self._sweep = sweep
        self._found = found
        self._gone = gone
        self._early = b""
        self._done = False
        self.deadline = NEVER

    def start(self, early: bytes = b"") -> None:
        """Begin, with what was read from the connection already."""
        early += adopt(self._stream, self)
        self.deadline = asyncio.get_running_loop().time() + DETECT_SECONDS
        self._sweep.add(self)
        self.data_received(early)
        if not self._done:
            resume(self._stream)

    def data_received(self, data: bytes) -> None:
        """First bytes."""
        self._early += data
        protocol = detect(self._early)
        if protocol is not None:
            self._finish(protocol)

    def eof_received(self) -> bool:
        """The client said all it wants to say: if that was something, it was not HTTP."""
        if not self._early:
            self._stream.close()
            return False
        # Whoever reads on is told of the end again.
        self._finish(Protocol.TCP)
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """The client left."""
        self._sweep.discard(self)
        if not self._done:
            self._done = True
            self._gone()

    def expired(self) -> None:
        """The client waits for the server to speak first."""
        self._finish(Protocol.TCP)

    def _finish(self, protocol: Protocol) -> None:
        if self._done:
            return
        self._done = True
        self._sweep.discard(self)
        pause(self._stream)
        self._found(protocol, self._early)
