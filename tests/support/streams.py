"""A Stream whose other end is in the test's hands. tests/proxy/test_streams.py compares it with real ones."""

import asyncio
from collections import deque
from typing import Any

HIGH = 64 * 1024
LOW = 16 * 1024


class MemoryStream:
    """Near side: a Stream, see proxy/transport/stream.py. Far side: `hears…` puts in, `says` takes out."""

    def __init__(self, protocol: asyncio.BaseProtocol | None = None) -> None:
        self.protocol: Any = protocol or asyncio.Protocol()
        self.paused = False
        """The near side does not read."""
        self.ended = False
        """The near side has said that it writes no more, and all before that was taken."""
        self.lost = False
        """The near side was told that the connection is over."""
        self.broken = False
        """The near side aborted: the far side cannot take that for an end."""
        self._said = bytearray()
        self._buffer = bytearray()
        self._far_reads = True
        self._far_ended = False
        self._choked = False
        self._closing = False
        self._no_more = False
        self._inbox: deque[bytes | None] = deque()
        self._at_end = False

    def __repr__(self) -> str:
        return f"<MemoryStream said={len(self._said)} closing={self._closing}>"

    # The far side.

    def hears(self, *pieces: bytes) -> None:
        """Bytes arrive, a piece at a time; while the near side does not read, they wait."""
        if not self._far_ended:
            self._inbox.extend(pieces)
        self._deliver()

    def hears_end(self) -> None:
        """The far side writes no more."""
        self._far_ended = True
        self._inbox.append(None)
        self._deliver()

    def breaks(self, error: Exception | None = None) -> None:
        """The connection is reset; what was on its way is lost."""
        if not self.lost:
            self._inbox.clear()
            self._buffer.clear()
            self._finish(error or ConnectionResetError("reset"))

    def says(self) -> bytes:
        """What came from the near side since it was asked last."""
        said, self._said = bytes(self._said), bytearray()
        return said

    def stops_reading(self) -> None:
        """The far side takes no more for now."""
        self._far_reads = False

    def reads_again(self) -> None:
        """It takes all that waits, and what comes."""
        self._far_reads = True
        self._push()
        if self._choked and not self._closing:
            self._choked = False
            self.protocol.resume_writing()

    @property
    def waiting(self) -> int:
        """Bytes that arrived and that the near side has not read yet."""
        return sum(len(piece or b"") for piece in self._inbox)

    @property
    def closed(self) -> bool:
        """The near side closed the connection, whichever way."""
        return self._closing

    # The near side: see Stream.

    def write(self, data: bytes) -> None:
        if self._no_more:
            raise RuntimeError("write after write_eof")  # as the event loop's transports do
        if self._closing:
            return
        self._buffer += data
        self._push()
        if len(self._buffer) > HIGH and not self._choked:
            self._choked = True
            self.protocol.pause_writing()

    def write_eof(self) -> None:
        if not self._closing:
            self._no_more = True
            self._push()

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._push()

    def abort(self) -> None:
        if not self.lost:
            self.broken = True
            self._buffer.clear()
            self._finish(None)

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False
        if self._at_end and not self._inbox:
            self._inbox.append(None)
        asyncio.get_running_loop().call_soon(self._deliver)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_extra_info(self, name: str) -> Any:
        return None

    def get_write_buffer_size(self) -> int:
        return len(self._buffer)

    # Between them.

    def _deliver(self) -> None:
        while self._inbox and not self.paused and not self._closing:
            piece = self._inbox.popleft()
            if piece is not None:
                self.protocol.data_received(piece)
                continue
            self._at_end = True
            if not self.protocol.eof_received():
                self.close()

    def _push(self) -> None:
        if self._buffer and not self._far_reads:
            return
        self._said += self._buffer
        self._buffer.clear()
        self.ended = self.ended or self._no_more or self._closing
        if self._closing and not self.lost:
            self._finish(None)

    def _finish(self, error: Exception | None) -> None:
        self._closing = self.lost = True
        asyncio.get_running_loop().call_soon(self._tell_lost, error)

    def _tell_lost(self, error: Exception | None) -> None:
        self.protocol.connection_lost(error)
