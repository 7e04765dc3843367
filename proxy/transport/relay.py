"""Opaque bytes from one stream to another and back: back-pressure both ways, and half-close.

When one side ends its half, the other is told with `write_eof` and may go on; when both halves have
ended, or one side breaks, both are closed.
"""

import asyncio
from collections.abc import Callable

from proxy.transport.stream import Stream, end, pause, reset, resume
from proxy.transport.waiting import adopt


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
        spoke_first: Callable[[], None] | None = None,
    ) -> None:
        self.spoke_first = spoke_first
        """Called if the second speaks before the first has said anything."""
        self._ended: Callable[[Exception | None, int, int], None] | None = ended
        self._first = _Half(self, first, second)
        self._second = _Half(self, second, first)

    def start(
        self,
        early_first: bytes = b"",
        early_second: bytes = b"",
        *,
        clogged: tuple[bool, bool] = (False, False),
    ) -> None:
        """Begin, with what was already read from each side; reading is paused on both.

        `clogged`: whether the user before was told to pause writing to the first, to the second.
        """
        first, second = self._first, self._second
        first.clogged, second.clogged = clogged
        early_first += adopt(first.stream, first)
        early_second += adopt(second.stream, second)
        for half in (first, second):
            if half.stream.is_closing():
                # It broke before it was ours, and will not tell us.
                asyncio.get_running_loop().call_soon(half.connection_lost, ConnectionResetError())
        if early_first:
            first.data_received(early_first)
        if early_second:
            second.data_received(early_second)
        for half in (first, second):
            if not half.clogged:
                resume(half.other)

    def lost(self, half: "_Half", error: Exception | None) -> None:
        """One side is gone: so is the other, after what it is still owed."""
        if half.gone:
            return
        half.gone = True
        other = half.other
        if half.at_end:
            other.close()
        else:
            error = error or ConnectionResetError("closed before its end")
            reset(other)
        if self._ended is not None:
            ended, self._ended = self._ended, None
            ended(error, self._first.count, self._second.count)
        if self._first.gone and self._second.gone:
            # Nobody need look for a circle, then, in which two streams are kept.
            del self._first, self._second

    def first_word(self, half: "_Half") -> None:
        """A side says something for the first time."""
        spoke_first, self.spoke_first = self.spoke_first, None
        if half is self._second and spoke_first is not None:
            spoke_first()

    def half_closed(self) -> None:
        """One more side has said all; when both have, it is over."""
        if self._first.at_end and self._second.at_end:
            self._first.stream.close()
            self._second.stream.close()


class _Half(asyncio.Protocol):
    """Hears one stream and writes to the other."""

    __slots__ = ("at_end", "clogged", "count", "gone", "other", "relay", "stream")

    def __init__(self, relay: Relay, stream: Stream, other: Stream) -> None:
        self.relay = relay
        self.stream = stream
        self.other = other
        self.count = 0
        self.at_end = False
        self.gone = False
        self.clogged = False
        """The stream's peer reads slowly: nothing more is read from the other meanwhile."""

    def data_received(self, data: bytes) -> None:
        if not self.count and self.relay.spoke_first is not None:
            self.relay.first_word(self)
        self.count += len(data)
        self.other.write(data)

    def eof_received(self) -> bool:
        if not self.at_end:  # a stream that is read again says it again
            self.at_end = True
            end(self.other)
            self.relay.half_closed()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self.relay.lost(self, error)

    def pause_writing(self) -> None:
        # What fills this stream's buffer came from the other.
        self.clogged = True
        pause(self.other)

    def resume_writing(self) -> None:
        self.clogged = False
        resume(self.other)
