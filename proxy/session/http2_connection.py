"""What both ends of an HTTP/2 connection do: frames, flow control, keep-alive, limits, farewell (RFC 9113).

A role (http2_server, http2_client) says what a header block means and which streams there may be.
"""

from typing import ClassVar, TypeVar

from proxy.codec import frames
from proxy.codec.frames import (
    DEFAULT_WINDOW,
    FRAME_LIMIT,
    HEAD_SIZE,
    LARGEST_WINDOW,
    Code,
    ConnectionBroken,
    Flag,
    Kind,
    Setting,
    StreamBroken,
    unpack,
)
from proxy.codec.header_blocks import LIST_LIMIT, BlockReader
from proxy.codec.heads import Headers
from proxy.session.http2_output import Http2Output, S
from proxy.session.http2_stream import Http2Stream
from proxy.session.memo import Memo
from proxy.session.patience import SMALL_INCREMENT, Patience
from proxy.transport.sealed import began_before
from proxy.transport.stream import Stream
from proxy.transport.sweep import NEVER, Sweep

CONNECTION_WINDOW = 1024 * 1024
"""Bytes of bodies that a peer may send on all streams before we have looked at half of them."""
STREAMS_LIMIT = 256
"""Streams that a peer may have open at a time."""
BLOCK_LIMIT = 2 * LIST_LIMIT
BLOCK_FRAMES = 16
"""Bytes, and frames, of one header block: more is a flood (CVE-2024-27316)."""
BLOCK_SECONDS = 10.0
"""For the first SETTINGS to come, and for a header block from its first frame to its last."""
PING_SECONDS = 10.0
PONG_SECONDS = 3.0
"""A connection on which nothing came for PING_SECONDS is asked, and given up after PONG_SECONDS more."""
STALL_SECONDS = 60.0
"""A stream that has data waiting, of which the peer takes nothing for so long, is given up."""
_PING = b"tulle?\0\0"
_GREETING: tuple[int, int, list[bytes]] = (0, 0, [])
"""In the place of a header block that is not complete: the first SETTINGS have not come (§3.4)."""
_DATA, _HEADERS = Kind.DATA, Kind.HEADERS
_WHOLE_BLOCK = Flag.END_HEADERS | Flag.END_STREAM
_PADDED, _END_STREAM = Flag.PADDED, Flag.END_STREAM
_PADDED_OR_PRIORITY = Flag.PADDED | Flag.PRIORITY
_HALF_WINDOW = CONNECTION_WINDOW // 2


H = TypeVar("H")
Heads = Memo[tuple[H, Headers, int]]
"""What blocks mean: the meaning, what the block adds to the table, and the version of the table that it is
true of; -1: any."""


class Http2Connection(Http2Output[S]):
    """One end of a connection. Roles implement what raises NotImplementedError here."""

    __slots__ = (
        "_asked_at",
        "_block",
        "_block_at",
        "_buffer",
        "_heard_at",
        "_left_at",
        "_patience",
        "_reader",
        "_received",
        "_sweep",
        "largest_peer_stream",
        "most_streams",
        "now",
    )

    serves: ClassVar[bool]
    """Whether this is the server's end: the peer opens the streams."""

    def __init__(self, stream: Stream, sweep: Sweep) -> None:
        super().__init__(stream)
        self._sweep = sweep
        self._reader = BlockReader()
        self._buffer = b""
        self._block: tuple[int, int, list[bytes]] | None = _GREETING
        """Stream, flags and fragments of a header block that goes on in CONTINUATION frames."""
        self.now = self._loop.time()
        """Loop time of this wake-up."""
        self._block_at = self._heard_at = self.now
        self._asked_at = 0.0
        self._left_at = 0.0
        """When the socket of a connection that is clogged was last seen to take something."""
        self._received = 0
        self._patience = Patience()
        self.most_streams = 100
        """Streams that the peer lets us have; as long as it has said nothing, what RFC 9113 suggests."""
        self.largest_peer_stream = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} streams={len(self.streams)} window={self.window}>"

    def began_before(self, revision: int) -> bool:
        """Whether its connection is one of mutual TLS that began under an older trust bundle."""
        return began_before(self._stream, revision)

    # For roles.

    @property
    def opened(self) -> int:
        """How many streams were opened so far."""
        raise NotImplementedError

    def headers(self, stream: int, block: bytes, end: bool) -> None:
        """A header block came on a stream."""
        raise NotImplementedError

    def is_idle(self, stream: int) -> bool:
        """Whether a stream has not been opened yet (RFC 9113 §5.1)."""
        raise NotImplementedError

    def peer_left(self, last: int) -> None:
        """The peer will not look at streams of ours above `last`."""

    def look(self, now: float) -> float:
        """Do what is due; when to look again (loop time, seconds)."""
        return NEVER

    def over(self) -> None:
        """The connection is gone."""

    def begin(self, settings: dict[Setting, int], preface: bytes = b"") -> None:
        """Say what we allow."""
        self._sweep.add(self)
        self.deadline = self._block_at + BLOCK_SECONDS
        self.write(
            preface
            + frames.settings({Setting.INITIAL_WINDOW_SIZE: DEFAULT_WINDOW, **settings})
            + frames.window_update(0, CONNECTION_WINDOW - DEFAULT_WINDOW)
        )

    # In.

    def take(self, data: bytes) -> None:
        """Read the frames in what the peer sent, as far as they are complete."""
        self.now = self._heard_at = self._loop.time()
        if self._buffer:
            data = self._buffer + data
        at, end = 0, len(data)
        try:
            while end - at >= HEAD_SIZE:
                length, flags, stream = unpack(data, at)
                kind = length & 0xFF
                length >>= 8
                if length > FRAME_LIMIT:
                    raise ConnectionBroken(Code.FRAME_SIZE_ERROR, "frame-size")
                after = at + HEAD_SIZE + length
                if after > end:
                    break
                payload = data[at + HEAD_SIZE : after]
                at = after
                stream &= 0x7FFFFFFF
                try:
                    if self._block is not None:
                        self._in_turn(kind, flags, stream)
                    if kind == _HEADERS:
                        if stream and flags | _END_STREAM == _WHOLE_BLOCK:
                            self.headers(stream, payload, flags == _WHOLE_BLOCK)
                        else:
                            self._headers(stream, flags, payload)
                    elif kind == _DATA:
                        self._data(stream, flags, payload)
                    else:
                        self._control(kind, flags, stream, payload)
                except StreamBroken as error:
                    self._break_stream(error)
        except ConnectionBroken as error:
            self._break(error)
            return
        self._buffer = data[at:] if at < end else b""

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == Kind.WINDOW_UPDATE:
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
            self.chore()

    def _in_turn(self, kind: int, flags: int, stream: int) -> None:
        """Only one frame can be next; raises ConnectionBroken if this is another."""
        assert self._block is not None
        if self._block is not _GREETING:
            if kind != Kind.CONTINUATION or stream != self._block[0]:
                raise ConnectionBroken(Code.PROTOCOL_ERROR, "continuation-expected")
        elif kind != Kind.SETTINGS or flags & Flag.ACK:
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "settings-expected")
        else:
            self._block = None

    def chore(self) -> None:
        """A frame that brought no traffic; raises ConnectionBroken if there were too many."""
        self._patience.chore(self.now, self.opened)

    def _count_reset(self) -> None:
        """A stream of the peer's was reset; raises ConnectionBroken if there were too many."""
        if self.serves:
            self._patience.reset(self.now, self.opened)

    def _data(self, stream: int, flags: int, payload: bytes) -> None:
        size = len(payload)
        self._received += size
        if self._received >= _HALF_WINDOW:
            # Streams hold back their own windows; the connection's is never the one that stalls, so that
            # a stream which nobody reads holds up no other. It cannot be exceeded.
            self.write(frames.window_update(0, self._received))
            self._received = 0
        if flags & _PADDED:
            payload = frames.unpadded(flags, payload)
        if not payload and not flags & _END_STREAM:
            self.chore()
        found = self.streams.get(stream)
        if found is None or found.remote_closed:
            self._closed(stream, found)
        else:
            found.data(payload, size, flags & _END_STREAM)

    def _closed(self, stream: int, found: Http2Stream | None) -> None:
        """DATA, or a header block, for a stream that takes none (§5.1)."""
        if not stream:
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "data-on-stream-0")
        if self.is_idle(stream):
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "idle-stream")
        if found is None and stream in self._recent:
            self.chore()
            return
        raise StreamBroken(stream, Code.STREAM_CLOSED, "closed-stream")

    def _headers(self, stream: int, flags: int, payload: bytes) -> None:
        if not stream:
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "headers-on-stream-0")
        if flags & _PADDED_OR_PRIORITY:
            payload = frames.unpadded(flags, payload)
            if flags & Flag.PRIORITY:
                if len(payload) < 5:
                    raise ConnectionBroken(Code.FRAME_SIZE_ERROR, "headers-size")
                # §5.3.1: a stream cannot depend on itself.
                if int.from_bytes(payload[:4], "big") & 0x7FFFFFFF == stream:
                    raise ConnectionBroken(Code.PROTOCOL_ERROR, "self-dependency")
                payload = payload[5:]
        if flags & Flag.END_HEADERS:
            self.headers(stream, payload, bool(flags & Flag.END_STREAM))
        else:
            self._block = (stream, flags, [payload])
            self._block_at = self.now
            self.deadline = min(self.deadline, self.now + BLOCK_SECONDS)

    def _continuation(self, stream: int, flags: int, payload: bytes) -> None:
        if self._block is None:
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "stray-continuation")
        _, first, parts = self._block
        parts.append(payload)
        if len(parts) > BLOCK_FRAMES or sum(map(len, parts)) > BLOCK_LIMIT:
            raise ConnectionBroken(Code.ENHANCE_YOUR_CALM, "header-block-size")
        if flags & Flag.END_HEADERS:
            self._block = None
            self.headers(stream, b"".join(parts), bool(first & Flag.END_STREAM))

    def read_block(self, block: bytes) -> tuple[Headers, int]:
        """The fields of a block, and their size; each block must be read, or known, in its turn."""
        return self._reader.read(block)

    def known(self, memo: "Heads[H]", block: bytes, end: bool) -> H | None:
        """What a block means, if that is remembered; then it need not be read."""
        found = memo.known[end].get(block)
        if found is None:
            return None
        meaning, added, version = found
        if version >= 0 and version != self._reader.version:
            return None
        if added:
            self._reader.repeat(added)
        return meaning

    def remember(self, memo: "Heads[H]", block: bytes, end: bool, meaning: H, size: int) -> None:
        """Remember what the block that was read last means, if it may come again and mean the same."""
        reader = self._reader
        if reader.constant:
            memo.put(block, end, (meaning, reader.added, -1), size)
        elif not reader.added:
            memo.put(block, end, (meaning, reader.added, reader.version), size)

    def _window_update(self, stream: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionBroken(Code.FRAME_SIZE_ERROR, "window-update-size")
        increment = int.from_bytes(payload, "big") & 0x7FFFFFFF
        if not stream:
            if not increment:
                raise ConnectionBroken(Code.PROTOCOL_ERROR, "window-increment")
            if not self.widen(increment):
                self.chore()
            return
        found = self.streams.get(stream)
        if found is None:
            if self.is_idle(stream):
                raise ConnectionBroken(Code.PROTOCOL_ERROR, "idle-stream")
            self.chore()
            return
        if not increment:
            raise StreamBroken(stream, Code.PROTOCOL_ERROR, "window-increment")
        found.window += increment
        if found.window > LARGEST_WINDOW:
            raise StreamBroken(stream, Code.FLOW_CONTROL_ERROR, "window-overflow")
        if increment < SMALL_INCREMENT and found.window > self.initial_window:
            self.chore()
        if found.pending and found.window > 0:
            self.waiting[found] = None
            self.let_out()

    def _rst_stream(self, stream: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionBroken(Code.FRAME_SIZE_ERROR, "rst-stream-size")
        if not stream or self.is_idle(stream):
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "idle-stream")
        self.chore()
        found = self.streams.get(stream)
        if found is not None:
            self._count_reset()
            self.forget(found)
            found.was_reset(int.from_bytes(payload, "big"))

    def _settings(self, stream: int, flags: int, payload: bytes) -> None:
        if stream:
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "settings-on-a-stream")
        self.chore()
        if flags & Flag.ACK:
            if payload:
                raise ConnectionBroken(Code.FRAME_SIZE_ERROR, "settings-size")
            return
        window = self.initial_window
        for key, value in frames.read_settings(payload):
            if key == Setting.INITIAL_WINDOW_SIZE:
                # The last one counts: with nothing between them, those before it move windows to and fro.
                window = value
            elif key == Setting.MAX_CONCURRENT_STREAMS:
                self.most_streams = value
            elif key == Setting.HEADER_TABLE_SIZE:
                self.resize_table(value)
            elif key == Setting.ENABLE_PUSH and value and not self.serves:
                raise ConnectionBroken(Code.PROTOCOL_ERROR, "enable-push")
        self.write(frames.frame(Kind.SETTINGS, Flag.ACK, 0))
        if window != self.initial_window:
            self.widen_streams(window)

    def _ping(self, stream: int, flags: int, payload: bytes) -> None:
        if stream:
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "ping-on-a-stream")
        if len(payload) != 8:
            raise ConnectionBroken(Code.FRAME_SIZE_ERROR, "ping-size")
        self.chore()
        if not flags & Flag.ACK:
            self.write(frames.frame(Kind.PING, Flag.ACK, 0, payload))

    def _goaway(self, stream: int, payload: bytes) -> None:
        if stream:
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "goaway-on-a-stream")
        if len(payload) < 8:
            raise ConnectionBroken(Code.FRAME_SIZE_ERROR, "goaway-size")
        self.chore()
        self.left = True
        self.peer_left(int.from_bytes(payload[:4], "big") & 0x7FFFFFFF)
        if not self.streams and not self.serves:
            self.close()

    def _priority(self, stream: int, payload: bytes) -> None:
        if not stream:
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "priority-on-stream-0")
        if len(payload) != 5:
            raise StreamBroken(stream, Code.FRAME_SIZE_ERROR, "priority-size")
        if int.from_bytes(payload[:4], "big") & 0x7FFFFFFF == stream:
            raise StreamBroken(stream, Code.PROTOCOL_ERROR, "self-dependency")
        self.chore()

    # Ends.

    def _break_stream(self, error: StreamBroken) -> None:
        """Reset a stream, or nothing less than the connection if there is no such stream (§5.1)."""
        if self.is_idle(error.stream):
            raise ConnectionBroken(error.code, error.word)
        self._count_reset()
        found = self.streams.get(error.stream)
        self.reset(error.stream, error.code)
        if found is not None:
            self.forget(found)
            found.was_reset(error.code)

    def overflowed(self, stream: Http2Stream) -> None:
        """What a stream has waiting is more than may wait: its exchange hears of it when it has spoken."""
        self._loop.call_soon(stream.overflowed)

    def _break(self, error: ConnectionBroken) -> None:
        self._buffer = b""
        self.go_away(self.largest_peer_stream, error.code, error.word.encode())
        self.close()
        self.end(error)

    def eof_received(self) -> bool:
        """The peer writes no more: nothing can be finished."""
        self.close()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._sweep.discard(self)
        self.end(error)
        self.over()

    def end(self, error: Exception | None) -> None:
        """End what is open: nothing will come any more."""
        self.leaving = True
        streams, self.streams = self.streams, {}
        for stream in streams.values():
            if stream.pending:
                stream.drop()
            stream.lost(error)

    def expired(self) -> None:
        """Something may be late: what was begun, the peer's answer, or its taking of what waits for it."""
        now = self._loop.time()
        if self.closing:
            self.deadline = NEVER
            self._stream.abort()
        elif self._block is not None and now >= self._block_at + BLOCK_SECONDS:
            is_first = self._block is _GREETING
            code = Code.SETTINGS_TIMEOUT if is_first else Code.ENHANCE_YOUR_CALM
            self._break(ConnectionBroken(code, "settings" if is_first else "header-block-time"))
        else:
            if self.backlog.size or self.clogged:
                self._end_stalled(now)
            due = min(self.look(now), self.keep_alive(now))
            if self._block is not None:
                due = min(due, self._block_at + BLOCK_SECONDS)
            if not self.closing:
                self.deadline = due

    def keep_alive(self, now: float) -> float:
        """Ask a peer that is silent, and do not wait long for the answer; when to look again."""
        if self._heard_at + PING_SECONDS > now:
            return self._heard_at + PING_SECONDS
        if self._asked_at <= self._heard_at:
            self._asked_at = now
            self.write(frames.frame(Kind.PING, 0, 0, _PING))
        elif now >= self._asked_at + PONG_SECONDS:
            self._stream.abort()
        return self._asked_at + PONG_SECONDS

    def _end_stalled(self, now: float) -> None:
        """Look what has moved since somebody looked last."""
        if self.clogged:
            left = self._stream.get_write_buffer_size()
            if left < self._left:
                self._left_at = now
            elif now >= self._left_at + STALL_SECONDS:
                self._stream.abort()
            self._left = left
            return
        for stream in [stream for stream in self.streams.values() if stream.pending]:
            if not stream.stalled_at:
                stream.stalled_at = now
            elif now >= stream.stalled_at + STALL_SECONDS:
                stream.abandon(Code.CANCEL)
                stream.stalled()
