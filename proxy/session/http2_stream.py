"""One stream of an HTTP/2 connection, as far as it is the same for both roles: windows and what waits."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Protocol as Shape

from proxy.codec import frames
from proxy.codec.frames import DEFAULT_WINDOW, FRAME_LIMIT, Code, Flag, Kind, StreamBroken, pack
from proxy.codec.header_blocks import write_trailers
from proxy.codec.heads import UNKNOWN, Headers
from proxy.session.backlog import Backlog

_NO_TRAILERS: Headers = []
_DATA, _END_STREAM = Kind.DATA, Flag.END_STREAM
_HALF_WINDOW = DEFAULT_WINDOW // 2


class Connection(Shape):
    """What a stream asks of the connection that it is on."""

    initial_window: int
    credit: int
    now: float
    waiting: "OrderedDict[Http2Stream, None]"
    backlog: Backlog

    @property
    def streams(self) -> "Mapping[int, Http2Stream]":
        """Those that are open, on one side at least."""
        ...

    def write(self, data: bytes) -> None:
        """Send with whatever else this wake-up produces."""
        ...

    def send_block(self, stream: int, block: bytes, end: bool) -> None:
        """Send a header block."""
        ...

    def forget(self, stream: "Http2Stream") -> None:
        """A stream is over on both sides."""
        ...

    def reset(self, stream: int, code: Code) -> None:
        """End a stream that the peer may still think is open."""
        ...

    def overflowed(self, stream: "Http2Stream") -> None:
        """What a stream has waiting is more than may wait."""
        ...

    def chore(self) -> None:
        """A frame that brought no traffic; raises ConnectionBroken if there were too many."""
        ...


class Http2Stream:
    """One stream. Roles implement what raises NotImplementedError here."""

    __slots__ = (
        "_ending",
        "_expected",
        "_held",
        "_received",
        "_trailers",
        "connection",
        "id",
        "local_closed",
        "pending",
        "remote_closed",
        "stalled_at",
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
        """Bytes of body that are still to come; UNKNOWN if nobody said. Below that: no body yet."""
        self._received = 0
        """Bytes that came and that the peer has not been given a new window for."""
        self._held = False
        self.pending: bytearray | None = None
        """What no window, or the socket, has let out yet; never empty."""
        self.stalled_at = 0.0
        """Since when nothing of that was let out, as far as somebody looked."""
        self._ending = False
        self._trailers = _NO_TRAILERS

    def __repr__(self) -> str:
        waiting = len(self.pending or b"")
        return f"<{type(self).__name__} {self.id} window={self.window} waiting={waiting}>"

    # For roles.

    def body(self, data: bytes, end: bool) -> None:
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

    def stalled(self) -> None:
        """The peer has taken nothing for too long, and the stream was reset."""
        raise NotImplementedError

    def overflowed(self) -> None:
        """More waited than may, and the stream was reset."""
        raise NotImplementedError

    # Out.

    def send(self, data: bytes, end: bool = False) -> None:
        """Send some of our body, and its end if that is it; what no window allows now waits."""
        if self.local_closed:
            return
        connection, size = self.connection, len(data)
        if (
            not size
            or size > FRAME_LIMIT
            or size > self.window
            or size > connection.credit
            or self.pending
        ):
            self._send_in_parts(data, end)
            return
        self.window -= size
        connection.credit -= size
        connection.write(pack(size << 8 | _DATA, _END_STREAM if end else 0, self.id) + data)
        if end:
            self._close_local()

    def _send_in_parts(self, data: bytes, end: bool) -> None:
        """Send as much as is allowed now, and keep the rest."""
        connection, at, size = self.connection, 0, len(data)
        while at < size and not self.pending:
            most = min(FRAME_LIMIT, self.window, connection.credit)
            if most <= 0:
                break
            part = data[at : at + most]
            at += len(part)
            self.window -= len(part)
            connection.credit -= len(part)
            last = end and at == size
            connection.write(frames.frame(Kind.DATA, Flag.END_STREAM if last else 0, self.id, part))
        if at < size:
            self._keep(data[at:], end)
        elif self.pending:
            self._ending = self._ending or end
        elif end and size:
            self._close_local()
        elif end:
            self._end(_NO_TRAILERS)

    def _keep(self, data: bytes, end: bool) -> None:
        connection = self.connection
        if not connection.backlog.add(self, len(data)):
            self.shed()
            return
        self._ending = end
        if self.pending:
            self.pending += data
            return
        self.pending = bytearray(data)
        self.stalled_at = 0.0
        if self.window > 0:
            connection.waiting[self] = None
        self.hold_source(True)

    def finish(self, trailers: Headers) -> None:
        """Our body is complete."""
        if self.local_closed:
            return
        if self.pending:
            self._ending, self._trailers = True, trailers
        else:
            self._end(trailers)

    def let_out(self) -> bool:
        """Send a frame of what waits, as large as the windows allow; true if there could be another."""
        connection, pending = self.connection, self.pending
        most = min(FRAME_LIMIT, self.window, connection.credit)
        if most <= 0 or not pending:
            return False
        part = bytes(pending[:most])
        del pending[:most]
        size = len(part)
        self.window -= size
        connection.credit -= size
        self.stalled_at = 0.0
        if pending:
            connection.backlog.take(self, size)
            connection.write(frames.frame(Kind.DATA, 0, self.id, part))
            return self.window > 0
        connection.backlog.remove(self, size)
        self.pending = None
        last = self._ending and not self._trailers
        connection.write(frames.frame(Kind.DATA, Flag.END_STREAM if last else 0, self.id, part))
        if last:
            self._close_local()
        elif self._ending:
            self._end(self._trailers)
        else:
            self.hold_source(False)
        return False

    def drop(self) -> None:
        """What waits is not wanted any more."""
        self.connection.waiting.pop(self, None)
        self.connection.backlog.remove(self, len(self.pending or b""))
        self.pending = None

    def shed(self) -> None:
        """End: more waits than may, and others that hold less, or are read from, go on (see Backlog)."""
        self.abandon(Code.ENHANCE_YOUR_CALM)
        if self.pending:
            self.drop()
        self.connection.overflowed(self)

    def _end(self, trailers: Headers) -> None:
        if trailers:
            self.connection.send_block(self.id, write_trailers(trailers), True)
        else:
            self.connection.write(frames.frame(Kind.DATA, Flag.END_STREAM, self.id))
        self._close_local()

    def _close_local(self) -> None:
        self.local_closed = True
        if self.remote_closed:
            self.connection.forget(self)

    # In.

    def data(self, payload: bytes, size: int, end: int) -> None:
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
            # _close_remote, without the call that each request would pay for.
            self.remote_closed = True
            if self.local_closed:
                self.connection.forget(self)
            self.body(payload, True)
        else:
            if payload:
                self.body(payload, False)
            if self._received >= _HALF_WINDOW:
                self._open_window()

    def ended(self) -> None:
        """The peer's body ended with trailers; raises StreamBroken."""
        if self._expected > 0:
            raise StreamBroken(self.id, Code.PROTOCOL_ERROR, "content-length")
        self._close_remote()

    def hold(self, held: bool) -> None:
        """Give the peer no new window, or give it again: how back-pressure goes on to the sender."""
        self._held = held
        if self._received >= _HALF_WINDOW:
            self._open_window()

    def _open_window(self) -> None:
        """Let more come, if more may come; with less than half of the window used the peer can go on."""
        if (
            not self._held
            and not self.remote_closed
            and self.connection.streams.get(self.id) is self
        ):
            self.connection.write(frames.window_update(self.id, self._received))
            self._received = 0

    def _close_remote(self) -> None:
        self.remote_closed = True
        if self.local_closed:
            self.connection.forget(self)

    def abandon(self, code: Code) -> None:
        """End the stream from our side, whatever state it is in."""
        self.local_closed = True
        if self.connection.streams.get(self.id) is self:
            self.connection.reset(self.id, code)
            self.connection.forget(self)
