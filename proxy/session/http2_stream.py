"""One stream of an HTTP/2 connection, as far as it is the same for both roles: windows and what waits."""

from typing import Protocol as Shape

from proxy.codec import frames
from proxy.codec.frames import DEFAULT_WINDOW, FRAME_LIMIT, Code, Flag, Kind, StreamBroken
from proxy.codec.header_blocks import write_block
from proxy.codec.heads import UNKNOWN, Headers


class Connection(Shape):
    """What a stream asks of the connection that it is on."""

    window: int
    initial_window: int
    clogged: bool
    now: float
    streams: "dict[int, Http2Stream]"
    waiting: "dict[Http2Stream, None]"

    def write(self, data: bytes) -> None:
        """Send with whatever else this wake-up produces."""
        ...

    def let_out(self) -> None:
        """Send of what waits what can go now."""
        ...

    def forget(self, stream: "Http2Stream") -> None:
        """A stream is over on both sides."""
        ...

    def reset(self, stream: int, code: Code) -> None:
        """End a stream that the peer may still think is open."""
        ...


class Http2Stream:
    """One stream. Roles implement `body`, `hold_source`, `was_reset` and `lost`."""

    __slots__ = (
        "_ending",
        "_expected",
        "_held",
        "_pending",
        "_pending_size",
        "_received",
        "_trailers",
        "connection",
        "id",
        "local_closed",
        "remote_closed",
        "window",
    )

    def __init__(self, connection: Connection, number: int, expected: int) -> None:
        self.connection = connection
        self.id = number
        self.window = connection.initial_window
        """What we may send on this stream."""
        self.remote_closed = False
        self.local_closed = False
        self._expected = expected
        """Bytes of body that the peer announced; UNKNOWN if it did not."""
        self._received = 0
        """Bytes that came and that the peer has not been given a new window for."""
        self._held = False
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._ending = False
        self._trailers: Headers = []

    # For roles.

    def body(self, data: bytes, *, end: bool) -> None:
        """Some of the peer's body."""
        raise NotImplementedError

    def hold_source(self, held: bool) -> None:
        """What is sent here comes faster than it goes out, or no longer so."""
        raise NotImplementedError

    def was_reset(self, code: int) -> None:
        """The peer, or a mistake of the peer's, ended the stream."""
        raise NotImplementedError

    def lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        raise NotImplementedError

    # Out.

    def send(self, data: bytes, end: bool = False) -> None:
        """Send some of our body, and its end if that is it; what no window allows now waits."""
        if self.local_closed:
            return
        connection, size = self.connection, len(data)
        if (
            self._pending
            or size > FRAME_LIMIT
            or size > self.window
            or size > connection.window
            or connection.clogged
        ):
            self._pending.append(data)
            self._pending_size += size
            self._ending = end
            connection.waiting[self] = None
            connection.let_out()
            if self._pending:
                self.hold_source(True)
            return
        self.window -= size
        connection.window -= size
        connection.write(frames.frame(Kind.DATA, Flag.END_STREAM if end else 0, self.id, data))
        if end:
            self._close_local()

    def finish(self, trailers: Headers) -> None:
        """Our body is complete."""
        if self.local_closed:
            return
        if self._pending:
            self._ending, self._trailers = True, trailers
        else:
            self._end(trailers)

    def let_out(self, most: int) -> None:
        """Send up to `most` bytes of what waits, as far as the windows allow."""
        connection = self.connection
        room = min(most, self.window, connection.window)
        if room <= 0 and self._pending_size:
            return
        data = self._take(room)
        self.window -= len(data)
        connection.window -= len(data)
        last = self._ending and not self._pending and not self._trailers
        connection.write(frames.frame(Kind.DATA, Flag.END_STREAM if last else 0, self.id, data))
        if self._pending:
            return
        connection.waiting.pop(self, None)
        if last:
            self._close_local()
        elif self._ending:
            self._end(self._trailers)
        else:
            self.hold_source(False)

    def _take(self, most: int) -> bytes:
        """Up to `most` bytes from the front of what waits."""
        first = self._pending[0]
        if len(first) <= most:
            del self._pending[0]
        else:
            self._pending[0] = first[most:]
            first = first[:most]
        self._pending_size -= len(first)
        return first

    def _end(self, trailers: Headers) -> None:
        if trailers:
            self.connection.write(frames.headers(self.id, write_block(trailers), end=True))
        else:
            self.connection.write(frames.frame(Kind.DATA, Flag.END_STREAM, self.id))
        self._close_local()

    def _close_local(self) -> None:
        self.local_closed = True
        if self.remote_closed:
            self.connection.forget(self)

    # In.

    def data(self, payload: bytes, size: int, *, end: bool) -> None:
        """A DATA frame of `size` bytes with its padding; raises StreamBroken."""
        self._received += size
        if self._received > DEFAULT_WINDOW:
            raise StreamBroken(self.id, Code.FLOW_CONTROL_ERROR, "stream-window")
        if self._expected != UNKNOWN:
            self._expected -= len(payload)
            # RFC 9113 §8.1.1: a body that is not as long as was said is malformed.
            if self._expected < 0 or (end and self._expected):
                raise StreamBroken(self.id, Code.PROTOCOL_ERROR, "content-length")
        if end:
            self._close_remote()
        self.body(payload, end=end)
        if not end and not self._held and self._received >= DEFAULT_WINDOW // 2:
            self._open_window()

    def ended(self) -> None:
        """The peer's body ended with trailers; raises StreamBroken."""
        if self._expected > 0:
            raise StreamBroken(self.id, Code.PROTOCOL_ERROR, "content-length")
        self._close_remote()

    def hold(self, held: bool) -> None:
        """Give the peer no new window, or give it again: how back-pressure goes on to the sender."""
        self._held = held
        if not held and self._received and not self.remote_closed:
            self._open_window()

    def _open_window(self) -> None:
        self.connection.write(frames.window_update(self.id, self._received))
        self._received = 0

    def _close_remote(self) -> None:
        self.remote_closed = True
        if self.local_closed:
            self.connection.forget(self)

    def abandon(self, code: Code) -> None:
        """End the stream from our side, whatever state it is in."""
        if self.connection.streams.get(self.id) is self:
            self.local_closed = True
            self._pending, self._pending_size = [], 0
            self.connection.reset(self.id, code)
            self.connection.forget(self)
