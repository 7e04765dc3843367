"""Opaque bytes from one stream to another and back: back-pressure both ways, and half-close.

When one side ends its half, the other is told with `write_eof` and may go on; when both halves have
ended, or one side breaks, both are closed.
"""

import asyncio
from collections.abc import Callable

from proxy.transport.stream import Stream, end, pause, resume


class Relay:
    """Joins two streams until both are done.

    `ended(error, from_first, from_second)` is called once: the error that broke it or None, and bytes
    that came from each side.
    """

    def __init__(
        self,
        first: Stream,
        second: Stream,
        ended: Callable[[Exception | None, int, int], None],
    ) -> None:
        self._ended: Callable[[Exception | None, int, int], None] | None = ended
        self._first = _Half(self, first, second)
        self._second = _Half(self, second, first)

    def start(self, early_first: bytes = b"", early_second: bytes = b"") -> None:
        """Begin, with what was already read from each side."""
        first, second = self._first, self._second
        first.stream.set_protocol(first)
        second.stream.set_protocol(second)
        if early_first:
            first.data_received(early_first)
        if early_second:
            second.data_received(early_second)
        resume(first.stream)
        resume(second.stream)

    def lost(self, half: "_Half", error: Exception | None) -> None:
        """One side is gone: so is the other, after what it is still owed."""
        other = half.other
        if error is None or half.at_end:
            other.close()
        else:
            other.abort()
        if self._ended is not None:
            ended, self._ended = self._ended, None
            ended(error, self._first.count, self._second.count)

    def half_closed(self) -> None:
        """One more side has said all; when both have, it is over."""
        if self._first.at_end and self._second.at_end:
            self._first.stream.close()
            self._second.stream.close()


class _Half(asyncio.Protocol):
    """Hears one stream and writes to the other."""

    __slots__ = ("at_end", "count", "other", "relay", "stream")

    def __init__(self, relay: Relay, stream: Stream, other: Stream) -> None:
        self.relay = relay
        self.stream = stream
        self.other = other
        self.count = 0
        self.at_end = False

    def data_received(self, data: bytes) -> None:
        self.count += len(data)
        self.other.write(data)

    def eof_received(self) -> bool:
        self.at_end = True
        end(self.other)
        self.relay.half_closed()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self.relay.lost(self, error)

    def pause_writing(self) -> None:
        # What fills this stream's buffer came from the other.
        pause(self.other)

    def resume_writing(self) -> None:
        resume(self.other)
