"""What a session asks of the connection beneath it: a plain socket's transport and TLS both give it."""

import asyncio
import contextlib
import fcntl
import socket
import struct
import sys
import termios
from typing import Any
from typing import Protocol as Shape

_NO_LINGER = struct.pack("ii", 1, 0)


class Stream(Shape):
    """A two-way stream of bytes whose events go to an `asyncio.Protocol`.

    A user that is set after the peer's end was told is told again when it reads.
    """

    def write(self, data: bytes) -> None:
        """Send, or buffer what cannot be sent at once."""
        ...

    def write_eof(self) -> None:
        """Say that nothing more will be written; reading goes on."""
        ...

    def close(self) -> None:
        """Send what is buffered, then close."""
        ...

    def abort(self) -> None:
        """Close at once; what is buffered is lost."""
        ...

    def is_closing(self) -> bool:
        """Whether `close` or `abort` was called, or the connection is lost."""
        ...

    def pause_reading(self) -> None:
        """Leave what the peer sends in the socket; harmless when paused already."""
        ...

    def resume_reading(self) -> None:
        """Take it again; harmless when not paused."""
        ...

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give later events to another."""
        ...

    def get_extra_info(self, name: str) -> Any:
        """`socket`: the socket beneath, if there is one."""
        ...

    def get_write_buffer_size(self) -> int:
        """Bytes buffered and not yet given to the socket."""
        ...


def pause(stream: Stream) -> None:
    """Stop reading, if the stream is still there to be read."""
    if not stream.is_closing():
        stream.pause_reading()


def resume(stream: Stream) -> None:
    """Read again, if the stream is still there to be read."""
    if not stream.is_closing():
        stream.resume_reading()


def end(stream: Stream) -> None:
    """Say that nothing more follows, if there is still somebody to say it to."""
    if not stream.is_closing():
        stream.write_eof()


def untaken(stream: Stream) -> int:
    """Bytes written that the peer's kernel has not acknowledged; of what is no socket, what is buffered."""
    connection = stream.get_extra_info("socket")
    waiting = stream.get_write_buffer_size()
    if connection is None or connection.fileno() < 0:
        return waiting
    queued = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4))
    return waiting + int.from_bytes(queued, sys.byteorder)


def reset(stream: Stream) -> None:
    """Close at once, such that the peer cannot take it for the end: over TCP with RST instead of FIN."""
    connection = stream.get_extra_info("socket")
    if connection is not None and not stream.is_closing():
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    stream.abort()
