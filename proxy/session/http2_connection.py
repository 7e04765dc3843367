"""What both ends of an HTTP/2 connection do: frames, flow control, keep-alive, limits, farewell (RFC 9113).

A role (http2_server, http2_client) says what a header block means and which streams there may be. All
that one wake-up produces is written at once: for TLS that is one record instead of many.
"""

import asyncio
from collections import deque

from proxy.codec import frames
from proxy.codec.frames import (
    DEFAULT_WINDOW,
    FRAME_LIMIT,
    HEAD,
    HEAD_SIZE,
    LARGEST_WINDOW,
    Code,
    ConnectionBroken,
    Flag,
    Kind,
    Setting,
    StreamBroken,
)
from proxy.codec.header_blocks import LIST_LIMIT, BlockReader
from proxy.codec.heads import Headers
from proxy.session.http2_stream import Http2Stream
from proxy.session.patience import Patience
from proxy.transport.stream import Stream
from proxy.transport.sweep import NEVER, Sweep

CONNECTION_WINDOW = 1024 * 1024
"""Bytes of bodies that a peer may send on all streams before we must have looked at some."""
STREAMS_LIMIT = 256
"""Streams that a peer may have open at a time."""
BLOCK_LIMIT = 2 * LIST_LIMIT
BLOCK_FRAMES = 16
"""Bytes, and frames, of one header block: more is a flood (CVE-2024-27316)."""
PING_SECONDS = 10.0
PONG_SECONDS = 3.0
"""A connection on which nothing came for PING_SECONDS is asked, and given up after PONG_SECONDS more."""
RECENT_LIMIT = 256
"""Streams that we ended and of which the peer may not have heard yet."""
_PING = b"tulle?\0\0"
_unpack = HEAD.unpack_from


class Http2Connection(asyncio.Protocol):
    """One end of a connection. Roles implement `headers`, `accepts` and `over`."""

    def __init__(self, stream: Stream, sweep: Sweep) -> None:
        self._stream = stream
        self._sweep = sweep
        self._loop = asyncio.get_running_loop()
        self._reader = BlockReader()
        self._buffer = b""
        self._out: list[bytes] = []
        self._block: tuple[int, int, list[bytes]] | None = None
        """Stream, flags and fragments of a header block that goes on in CONTINUATION frames."""
        self.streams: dict[int, Http2Stream] = {}
        self.window = DEFAULT_WINDOW
        """What we may send on all streams."""
        self.initial_window = DEFAULT_WINDOW
        self.clogged = False
        """The socket takes no more for now."""
        self.waiting: dict[Http2Stream, None] = {}
        """Streams that hold data which a window or the socket does not let out, in order."""
        self.now = self._loop.time()
        """Loop time of this wake-up."""
        self._heard_at = self.now
        self._asked = False
        self._received = 0
        self._recent: deque[int] = deque(maxlen=RECENT_LIMIT)
        self._patience = Patience()
        self.most_streams = 100
        """Streams that the peer lets us have; as long as it has said nothing, what RFC 9113 suggests."""
        self.largest_peer_stream = 0
        self.leaving = False
        """A GOAWAY was sent."""
        self.left = False
        """A GOAWAY came."""
        self.deadline = NEVER

    def __repr__(self) -> str:
        return f"<{type(self).__name__} streams={len(self.streams)} window={self.window}>"

    @property
    def closing(self) -> bool:
        """Whether the connection is over, or will be."""
        return self._stream.is_closing()

    # For roles.

    def headers(self, stream: int, block: bytes, *, end: bool) -> None:
        """A header block came on a stream."""
        raise NotImplementedError

    def is_idle(self, stream: int) -> bool:
        """Whether a stream has not been opened yet (RFC 9113 §5.1)."""
        raise NotImplementedError

    def over(self, error: Exception | None) -> None:
        """The connection is gone; `streams` are those that were open."""
        raise NotImplementedError

    def begin(self, settings: dict[Setting, int], preface: bytes = b"") -> None:
        """Say what we allow."""
        self._sweep.add(self)
        self.deadline = self.now + PING_SECONDS
        self.write(
            preface
            + frames.settings({Setting.INITIAL_WINDOW_SIZE: DEFAULT_WINDOW, **settings})
            + frames.window_update(0, CONNECTION_WINDOW - DEFAULT_WINDOW)
        )

    # Out.

    def write(self, data: bytes) -> None:
        """Send with whatever else this wake-up produces."""
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(data)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if out and not self._stream.is_closing():
            self._stream.write(b"".join(out) if len(out) > 1 else out[0])

    def forget(self, stream: Http2Stream) -> None:
        """A stream is over on both sides."""
        self.streams.pop(stream.id, None)
        self.waiting.pop(stream, None)
        if (self.leaving or self.left) and not self.streams:
            self.close()

    def reset(self, stream: int, code: Code) -> None:
        """End a stream that the peer may still think is open."""
        self._recent.append(stream)
        self.write(frames.rst_stream(stream, code))

    def close(self) -> None:
        """Send what is waiting to be sent, then close."""
        self._flush()
        self._stream.close()

    def go_away(self, last: int, code: Code, word: bytes = b"") -> None:
        """Tell the peer which streams will still be looked at."""
        self.leaving = True
        self.write(frames.goaway(last, code, word))

    def let_out(self) -> None:
        """Windows have opened, or the socket has room: send what waited, a turn for each stream."""
        while self.waiting and self.window > 0 and not self.clogged:
            for stream in list(self.waiting):
                if self.window <= 0 or self.clogged:
                    return
                stream.let_out(FRAME_LIMIT)
            if all(stream.window <= 0 for stream in self.waiting):
                return

    # In.

    def data_received(self, data: bytes) -> None:
        """Bytes from the peer."""
        self.now = self._heard_at = self._loop.time()
        self._asked = False
        if self._buffer:
            data = self._buffer + data
        at, end = 0, len(data)
        try:
            while end - at >= HEAD_SIZE:
                high, low, kind, flags, stream = _unpack(data, at)
                length = high << 8 | low
                if length > FRAME_LIMIT:
                    raise ConnectionBroken(Code.FRAME_SIZE_ERROR, "frame-size")
                after = at + HEAD_SIZE + length
                if after > end:
                    break
                payload = data[at + HEAD_SIZE : after]
                at = after
                try:
                    self._frame(kind, flags, stream & 0x7FFFFFFF, payload)
                except StreamBroken as error:
                    self._break_stream(error)
        except ConnectionBroken as error:
            self._break(error)
            return
        self._buffer = data[at:] if at < end else b""

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._block is not None and (kind != Kind.CONTINUATION or stream != self._block[0]):
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "continuation-expected")
        if kind == Kind.DATA:
            self._data(stream, flags, payload)
        elif kind == Kind.HEADERS:
            self._headers(stream, flags, payload)
        elif kind == Kind.WINDOW_UPDATE:
            self._window_update(stream, payload)
        elif kind == Kind.RST_STREAM:
            self._rst_stream(stream, payload)
        elif kind == Kind.SETTINGS:
            self._settings(stream, flags, payload)
        elif kind == Kind.PING:
            self._ping(stream, flags, payload)
        elif kind == Kind.CONTINUATION:
            self._continuation(stream, flags, payload)
        elif kind == Kind.GOAWAY:
            self._goaway(stream, payload)
        elif kind == Kind.PRIORITY:
            self._priority(stream, payload)
        elif kind == Kind.PUSH_PROMISE:
            # We never allow it (a client says so, a server is never pushed to).
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "push-promise")
        else:
            # §5.5: what is not known is ignored, within reason.
            self._patience.chore(self.now)

    def _data(self, stream: int, flags: int, payload: bytes) -> None:
        if not stream:
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "data-on-stream-0")
        size = len(payload)
        self._received += size
        if self._received > CONNECTION_WINDOW:
            raise ConnectionBroken(Code.FLOW_CONTROL_ERROR, "connection-window")
        if self._received >= CONNECTION_WINDOW // 2:
            # Streams hold back their own windows; the connection's is never the one that stalls.
            self.write(frames.window_update(0, self._received))
            self._received = 0
        if flags & Flag.PADDED:
            payload = frames.unpadded(flags, payload)
        if not payload and not flags & Flag.END_STREAM:
            self._patience.chore(self.now)
        found = self.streams.get(stream)
        if found is None or found.remote_closed:
            self._closed(stream, found)
        else:
            found.data(payload, size, end=bool(flags & Flag.END_STREAM))

    def _closed(self, stream: int, found: Http2Stream | None) -> None:
        """DATA or WINDOW_UPDATE for a stream that takes none (§5.1)."""
        if self.is_idle(stream):
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "idle-stream")
        if found is None and stream in self._recent:
            return
        raise StreamBroken(stream, Code.STREAM_CLOSED, "closed-stream")

    def _headers(self, stream: int, flags: int, payload: bytes) -> None:
        if not stream:
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "headers-on-stream-0")
        if flags & (Flag.PADDED | Flag.PRIORITY):
            payload = frames.unpadded(flags, payload)
            if flags & Flag.PRIORITY:
                if len(payload) < 5:
                    raise ConnectionBroken(Code.FRAME_SIZE_ERROR, "headers-size")
                # §5.3.1: a stream cannot depend on itself.
                if int.from_bytes(payload[:4], "big") & 0x7FFFFFFF == stream:
                    raise ConnectionBroken(Code.PROTOCOL_ERROR, "self-dependency")
                payload = payload[5:]
        if flags & Flag.END_HEADERS:
            self.headers(stream, payload, end=bool(flags & Flag.END_STREAM))
        else:
            self._block = (stream, flags, [payload])

    def _continuation(self, stream: int, flags: int, payload: bytes) -> None:
        if self._block is None:
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "stray-continuation")
        _, first, parts = self._block
        parts.append(payload)
        if len(parts) > BLOCK_FRAMES or sum(map(len, parts)) > BLOCK_LIMIT:
            raise ConnectionBroken(Code.ENHANCE_YOUR_CALM, "header-block-size")
        if flags & Flag.END_HEADERS:
            self._block = None
            self.headers(stream, b"".join(parts), end=bool(first & Flag.END_STREAM))

    def read_block(self, block: bytes) -> Headers | None:
        """The fields of a block, each of which must be read in its turn; None if they are too many."""
        fields, size = self._reader.read(block)
        return None if size > LIST_LIMIT else fields

    @property
    def tables_changed(self) -> bool:
        """The last block changed what later blocks mean."""
        return self._reader.changed

    def _window_update(self, stream: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionBroken(Code.FRAME_SIZE_ERROR, "window-update-size")
        increment = int.from_bytes(payload, "big") & 0x7FFFFFFF
        if not stream:
            if not increment:
                raise ConnectionBroken(Code.PROTOCOL_ERROR, "window-increment")
            self.window += increment
            if self.window > LARGEST_WINDOW:
                raise ConnectionBroken(Code.FLOW_CONTROL_ERROR, "window-overflow")
            if self.waiting:
                self.let_out()
            return
        self._patience.chore(self.now)
        found = self.streams.get(stream)
        if found is None:
            if self.is_idle(stream):
                raise ConnectionBroken(Code.PROTOCOL_ERROR, "idle-stream")
            return
        if not increment:
            raise StreamBroken(stream, Code.PROTOCOL_ERROR, "window-increment")
        found.window += increment
        if found.window > LARGEST_WINDOW:
            raise StreamBroken(stream, Code.FLOW_CONTROL_ERROR, "window-overflow")
        if found in self.waiting:
            self.let_out()

    def _rst_stream(self, stream: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionBroken(Code.FRAME_SIZE_ERROR, "rst-stream-size")
        if not stream or self.is_idle(stream):
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "idle-stream")
        self._patience.chore(self.now)
        found = self.streams.get(stream)
        if found is not None:
            self._patience.reset(self.now)
            self.forget(found)
            found.was_reset(int.from_bytes(payload, "big"))

    def _settings(self, stream: int, flags: int, payload: bytes) -> None:
        if stream:
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "settings-on-a-stream")
        if flags & Flag.ACK:
            if payload:
                raise ConnectionBroken(Code.FRAME_SIZE_ERROR, "settings-size")
            return
        self._patience.chore(self.now)
        for key, value in frames.read_settings(payload):
            if key == Setting.INITIAL_WINDOW_SIZE:
                self._move_windows(value)
            elif key == Setting.MAX_CONCURRENT_STREAMS:
                self.most_streams = value
        self.write(frames.frame(Kind.SETTINGS, Flag.ACK, 0))
        self.let_out()

    def _move_windows(self, value: int) -> None:
        """§6.9.2: the change applies to open streams, whose windows may become negative."""
        moved, self.initial_window = value - self.initial_window, value
        for stream in self.streams.values():
            stream.window += moved
            if stream.window > LARGEST_WINDOW:
                raise ConnectionBroken(Code.FLOW_CONTROL_ERROR, "window-overflow")

    def _ping(self, stream: int, flags: int, payload: bytes) -> None:
        if stream:
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "ping-on-a-stream")
        if len(payload) != 8:
            raise ConnectionBroken(Code.FRAME_SIZE_ERROR, "ping-size")
        if not flags & Flag.ACK:
            self._patience.chore(self.now)
            self.write(frames.frame(Kind.PING, Flag.ACK, 0, payload))

    def _goaway(self, stream: int, payload: bytes) -> None:
        if stream:
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "goaway-on-a-stream")
        if len(payload) < 8:
            raise ConnectionBroken(Code.FRAME_SIZE_ERROR, "goaway-size")
        self.left = True
        self.peer_left(int.from_bytes(payload[:4], "big") & 0x7FFFFFFF)
        if not self.streams:
            self.close()

    def peer_left(self, last: int) -> None:
        """The peer will not look at streams of ours above `last`."""

    def _priority(self, stream: int, payload: bytes) -> None:
        if not stream:
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "priority-on-stream-0")
        if len(payload) != 5:
            raise StreamBroken(stream, Code.FRAME_SIZE_ERROR, "priority-size")
        if int.from_bytes(payload[:4], "big") & 0x7FFFFFFF == stream:
            raise StreamBroken(stream, Code.PROTOCOL_ERROR, "self-dependency")
        self._patience.chore(self.now)

    # Ends.

    def _break_stream(self, error: StreamBroken) -> None:
        self._patience.reset(self.now)
        found = self.streams.get(error.stream)
        self.reset(error.stream, error.code)
        if found is not None:
            self.forget(found)
            found.was_reset(error.code)

    def _break(self, error: ConnectionBroken) -> None:
        self._buffer = b""
        self.go_away(self.largest_peer_stream, error.code, error.word.encode())
        self.close()
        self._end(error)

    def eof_received(self) -> bool:
        """The peer writes no more: nothing can be finished."""
        self.close()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._end(error)

    def _end(self, error: Exception | None) -> None:
        self._sweep.discard(self)
        self.deadline = NEVER
        self.leaving = True
        streams, self.streams, self.waiting = self.streams, {}, {}
        for stream in streams.values():
            stream.lost(error)
        self.over(error)

    def pause_writing(self) -> None:
        """The socket takes no more."""
        self.clogged = True

    def resume_writing(self) -> None:
        """The socket has room."""
        self.clogged = False
        self.let_out()

    def expired(self) -> None:
        """Nothing may have come for a while: ask, and do not wait long for the answer."""
        now = self._loop.time()
        if self._asked:
            self._stream.abort()
        elif now - self._heard_at < PING_SECONDS:
            self.deadline = self._heard_at + PING_SECONDS
        else:
            self._asked = True
            self.deadline = now + PONG_SECONDS
            self.write(frames.frame(Kind.PING, 0, 0, _PING))
