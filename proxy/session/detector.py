"""Waits for a connection's first bytes, until they say what it speaks."""

import asyncio
from collections.abc import Callable

from proxy.transport.detect import Protocol, detect
from proxy.transport.stream import Stream, pause, resume
from proxy.transport.sweep import NEVER, Sweep
from proxy.transport.waiting import adopt

DETECT_SECONDS = 10.0
"""A client that is silent for so long waits for the server to speak: opaque."""
QUIET_SECONDS = 0.05
"""After so much silence of a client's it is worth listening whether the server speaks first."""


class Detector(asyncio.Protocol):
    """Calls `found(protocol, early)` once, with reading paused and the bytes that were read.

    `gone()` is called instead if the client left before it was told. `quiet(detector)` is called once if
    the client is silent at first: whoever can reach the server may then `listen_ahead`.
    """

    def __init__(
        self,
        stream: Stream,
        sweep: Sweep,
        found: Callable[[Protocol, bytes], None],
        gone: Callable[[], None],
        quiet: Callable[["Detector"], None] | None = None,
    ) -> None:
        self._quiet = quiet
        self._look_ahead: asyncio.TimerHandle | None = None
        self._ahead: Stream | None = None
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
        loop = asyncio.get_running_loop()
        self.deadline = loop.time() + DETECT_SECONDS
        self._sweep.add(self)
        if self._stream.is_closing():
            # It broke before it was ours, and will not tell us.
            loop.call_soon(self.connection_lost, None)
            return
        self.data_received(early)
        if not self._done:
            resume(self._stream)
        if not self._done and self._quiet is not None:
            self._look_ahead = loop.call_later(QUIET_SECONDS, self._quiet, self)

    @property
    def done(self) -> bool:
        """Whether it is known what the connection speaks, or nobody is there any more."""
        return self._done

    def listen_ahead(self, server: Stream, spoke: Callable[[bytes, bytes], None]) -> None:
        """Listen to the server as well: `spoke(early, said)` is called, instead of `found`, if it is first.

        `early` is what the client has said of something unfinished. `server` is closed if it turns out
        that it is not needed.
        """
        if self._done:
            server.close()
            return
        self._ahead = server
        said = adopt(server, _Ahead(self, spoke))
        if said:
            self.settle(said, spoke)
        resume(server)

    def settle(self, said: bytes, spoke: Callable[[bytes, bytes], None]) -> None:
        """The server spoke first: the connection is opaque."""
        server, self._ahead = self._ahead, None
        if server is None or self._done:
            return
        self._stop()
        pause(server)
        pause(self._stream)
        spoke(self._early, said)

    def alone_again(self) -> None:
        """The server left without a word: the client will say what it wants."""
        self._ahead = None

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
        if not self._done:
            self._stop()
            self._gone()

    def expired(self) -> None:
        """The client waits for the server to speak first."""
        self._finish(Protocol.TCP)

    def _finish(self, protocol: Protocol) -> None:
        if self._done:
            return
        self._stop()
        pause(self._stream)
        self._found(protocol, self._early)

    def _stop(self) -> None:
        self._done = True
        self._sweep.discard(self)
        if self._look_ahead is not None:
            self._look_ahead.cancel()
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.close()


class _Ahead(asyncio.Protocol):
    """Hears a server that may speak first."""

    def __init__(self, detector: Detector, spoke: Callable[[bytes, bytes], None]) -> None:
        self._detector = detector
        self._spoke = spoke

    def data_received(self, data: bytes) -> None:
        """It does."""
        self._detector.settle(data, self._spoke)

    def connection_lost(self, error: Exception | None) -> None:
        """It is gone."""
        self._detector.alone_again()
