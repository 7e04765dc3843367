"""What an HTTP/2 connection sends: all that one wake-up produces at once, no more than windows and socket take.

Writing once for each wake-up means one TLS record instead of many. Data goes out against `credit`: the
part of the connection's window that may be written before the socket has been heard again. So what a slow
socket has to buffer is bounded, whatever windows the peer gives.
"""

import asyncio
import math
from collections import OrderedDict
from typing import Generic, TypeVar

from proxy.codec import frames
from proxy.codec.frames import (
    DEFAULT_WINDOW,
    FRAME_LIMIT,
    LARGEST_WINDOW,
    Code,
    ConnectionBroken,
    Flag,
    Kind,
    pack,
)
from proxy.codec.header_blocks import NO_TABLE, TABLE_SIZE
from proxy.session.backlog import Backlog
from proxy.session.http2_stream import Http2Stream
from proxy.session.patience import SMALL_INCREMENT
from proxy.transport.stream import Stream

BURST = 256 * 1024
"""Bytes of bodies that are written before the socket is asked whether it takes more."""
MUTTER_LIMIT = 1024 * 1024
"""Bytes of heads and replies for a peer that reads nothing; then the connection is given up."""
RECENT_LIMIT = 1024
"""Streams that we ended and of which the peer may not have heard yet."""
CLOSE_SECONDS = 5.0
"""For the peer to take the last of what it is sent."""
_HEADERS = Kind.HEADERS
_GOES_ON = Flag.END_HEADERS
_ENDS = Flag.END_HEADERS | Flag.END_STREAM

S = TypeVar("S", bound=Http2Stream)
"""What a role makes of a stream."""


class Http2Output(asyncio.Protocol, Generic[S]):
    """The sending half of a connection, and the streams that it has."""

    __slots__ = (
        "_beyond",
        "_left",
        "_loop",
        "_muttered",
        "_out",
        "_peer_table",
        "_recent",
        "_stream",
        "_table_shrunk",
        "_widest",
        "backlog",
        "clogged",
        "credit",
        "deadline",
        "initial_window",
        "leaving",
        "left",
        "lingers",
        "streams",
        "waiting",
    )

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._out: list[bytes] = []
        self.streams: dict[int, S] = {}
        self.initial_window = DEFAULT_WINDOW
        self.credit = DEFAULT_WINDOW
        """Bytes of bodies that may be written now."""
        self._beyond = 0
        """What is left of the connection's window besides `credit`."""
        self._widest = DEFAULT_WINDOW
        self.waiting: OrderedDict[Http2Stream, None] = OrderedDict()
        """Streams that hold data which their own window lets out but the connection does not; in order."""
        self.backlog = Backlog()
        self.clogged = False
        """The socket takes no more for now."""
        self._muttered = 0
        """Bytes written while it was clogged."""
        self._left: float = math.inf
        """Bytes that it had left to take when somebody looked."""
        self._peer_table = TABLE_SIZE
        self._table_shrunk = False
        """The peer's table became smaller, and our next block must say that we know (RFC 9113 §4.3.1)."""
        self._recent: dict[int, None] = {}
        self.leaving = False
        """A GOAWAY was sent, or will not be needed: the connection closes with its last stream."""
        self.left = False
        """A GOAWAY came."""
        self.lingers = False
        """All was said, and the peer is heard out."""
        self.deadline = 0.0

    @property
    def closing(self) -> bool:
        """Whether the connection is over, or will be."""
        return self._stream.is_closing()

    @property
    def window(self) -> int:
        """What the peer lets us send on all streams."""
        return self.credit + self._beyond

    def write(self, data: bytes) -> None:
        """Send with whatever else this wake-up produces."""
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(data)

    def send_block(self, stream: int, block: bytes, end: bool) -> None:
        """Send a header block, and the end of the stream if that is it."""
        if self._table_shrunk:
            self._table_shrunk = False
            block = NO_TABLE + block
        out, size = self._out, len(block)
        if not out:
            self._loop.call_soon(self._flush)
        if size > FRAME_LIMIT:
            out.append(frames.headers(stream, block, end=end))
        else:
            out.append(pack(size << 8 | _HEADERS, _ENDS if end else _GOES_ON, stream) + block)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if not out or self.lingers or self._stream.is_closing():
            return
        data = b"".join(out)
        if self.clogged:
            self._muttered += len(data)
            if self._muttered > MUTTER_LIMIT:
                self._stream.abort()
                return
        self._stream.write(data)
        if self._beyond and not self.clogged:
            self._refill()

    def _refill(self) -> None:
        """The socket has taken what it got: as much may be written again."""
        more = min(BURST - self.credit, self._beyond)
        if more > 0:
            self.credit += more
            self._beyond -= more
        if self.waiting:
            self.let_out()

    def let_out(self) -> None:
        """Send of what waits as much as can go now, a turn for each stream."""
        waiting = self.waiting
        while waiting and self.credit > 0:
            stream, _ = waiting.popitem(last=False)
            if stream.let_out():
                waiting[stream] = None

    def pause_writing(self) -> None:
        """The socket takes no more."""
        self.clogged = True
        self._left = math.inf
        self._beyond += self.credit
        self.credit = 0

    def resume_writing(self) -> None:
        """The socket has room."""
        self.clogged = False
        self._muttered = 0
        self._refill()

    def widen(self, increment: int) -> bool:
        """The peer takes so much more on all streams; false if it says so without need. May raise."""
        self._beyond += increment
        window = self.window
        if window > LARGEST_WINDOW:
            raise ConnectionBroken(Code.FLOW_CONTROL_ERROR, "window-overflow")
        needed = increment >= SMALL_INCREMENT or window <= self._widest
        self._widest = max(window, self._widest)
        if not self.clogged and not self._out:
            # Else the flush that comes will do it.
            self._refill()
        return needed

    def widen_streams(self, value: int) -> None:
        """What streams begin with has changed, for those that are open, too (RFC 9113 §6.9.2). May raise."""
        moved, self.initial_window = value - self.initial_window, value
        for stream in self.streams.values():
            stream.window += moved
            if stream.window > LARGEST_WINDOW:
                raise ConnectionBroken(Code.FLOW_CONTROL_ERROR, "window-overflow")
            if stream.pending and stream.window > 0:
                self.waiting[stream] = None
        self.let_out()

    def resize_table(self, size: int) -> None:
        """The peer lets us have a table of so many bytes. We use none, but have to say so."""
        if size < self._peer_table:
            self._table_shrunk = True
        self._peer_table = size

    def forget(self, stream: Http2Stream) -> None:
        """A stream is over on both sides."""
        if self.streams.pop(stream.id, None) is not None and stream.pending:
            stream.drop()
        if (self.leaving or self.left) and not self.streams:
            self.emptied()

    def emptied(self) -> None:
        """The last stream of a connection that is to end is over."""
        self.close()

    def reset(self, stream: int, code: Code) -> None:
        """End a stream that the peer may still think is open."""
        self.expect_more(stream)
        self.write(frames.rst_stream(stream, code))

    def expect_more(self, stream: int) -> None:
        """More may come on a stream that is over for us: it is to be passed over in silence."""
        recent = self._recent
        recent[stream] = None
        if len(recent) > RECENT_LIMIT:
            del recent[next(iter(recent))]

    def close(self) -> None:
        """Send what is waiting to be sent, then close, at once if the peer does not take it."""
        if not self._stream.is_closing():
            self._flush()
            self._stream.close()
            self.deadline = self._loop.time() + CLOSE_SECONDS

    def go_away(self, last: int, code: Code, word: bytes = b"") -> None:
        """Tell the peer which streams will still be looked at."""
        self.leaving = True
        self.write(frames.goaway(last, code, word))
