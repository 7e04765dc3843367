"""HTTP/1.1 bodies: where they end, and what of the bytes is payload (RFC 9112 §6 and §7).

Law: however the input is split, the same payload comes out and the same bytes are left over.
"""

import re
from typing import Protocol

from proxy.codec.heads import UNKNOWN, BadMessage, Headers
from proxy.codec.http1 import find_head, parse_trailers

_LINE_LIMIT = 4096
# RFC 9112 §7.1: size, then extensions, which nobody uses and we do not pass on. No signs, no blanks.
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t -~\x80-\xff]*)?")


class Body(Protocol):
    """A body being read."""

    trailers: Headers

    def feed(self, data: bytes) -> tuple[bytes, bytes, bool]:
        """Payload in `data`, what is left of it for later or for the next message, and whether it ended.

        What is left before the end must be given again, with more behind it. Raises BadMessage.
        """
        ...


class LengthBody:
    """A body of so many bytes."""

    __slots__ = ("left", "trailers")

    def __init__(self, length: int) -> None:
        self.left = length
        self.trailers: Headers = []

    def feed(self, data: bytes) -> tuple[bytes, bytes, bool]:
        """See Body."""
        if len(data) < self.left:
            self.left -= len(data)
            return data, b"", False
        payload, rest = data[: self.left], data[self.left :]
        self.left = 0
        return payload, rest, True


class CloseBody:
    """A body that ends with its connection."""

    __slots__ = ("trailers",)

    def __init__(self) -> None:
        self.trailers: Headers = []

    def feed(self, data: bytes) -> tuple[bytes, bytes, bool]:
        """See Body."""
        return data, b"", False


class ChunkedBody:
    """A body in chunks, each with its size before it, and trailers behind the last."""

    __slots__ = ("_ended", "_left", "_seen", "trailers")

    def __init__(self) -> None:
        self.trailers: Headers = []
        self._seen = 0
        """Bytes of the trailer section that were looked at already."""
        self._left = 0
        """Bytes of the current chunk still to come, and the two of its CRLF."""
        self._ended = False
        """The last chunk has come; the trailer section has not ended yet."""

    def feed(self, data: bytes) -> tuple[bytes, bytes, bool]:
        """See Body."""
        payload: list[bytes] = []
        at = 0
        while not self._ended:
            if self._left > 2:
                piece = data[at : at + self._left - 2]
                payload.append(piece)
                at += len(piece)
                self._left -= len(piece)
            if self._left:
                if self._left > 2 or len(data) - at < 2:
                    if self._left == 2 and data[at : at + 1] not in (b"", b"\r"):
                        raise BadMessage("bad-chunk-end")
                    return b"".join(payload), data[at:], False
                if data[at : at + 2] != b"\r\n":
                    raise BadMessage("bad-chunk-end")
                at += 2
                self._left = 0
            end = data.find(b"\r\n", at, at + _LINE_LIMIT)
            if end < 0:
                _check_unfinished_line(data, at)
                return b"".join(payload), data[at:], False
            size = _SIZE.fullmatch(data, at, end)
            if size is None:
                raise BadMessage("bad-chunk-size")
            at = end + 2
            length = int(size[1], 16)
            if length:
                self._left = length + 2
            else:
                self._ended = True
        return self._finish(data, at, b"".join(payload))

    def _finish(self, data: bytes, at: int, payload: bytes) -> tuple[bytes, bytes, bool]:
        if data.startswith(b"\r\n", at):
            return payload, data[at + 2 :], True
        section = data[at:]
        length = find_head(section, self._seen)
        if not length:
            self._seen = len(section)
            return payload, section, False
        self.trailers = parse_trailers(section[:length])
        return payload, section[length:], True


def _check_unfinished_line(data: bytes, at: int) -> None:
    """Refuse early what cannot become a chunk-size line."""
    line = data[at : at + _LINE_LIMIT].removesuffix(b"\r")
    if line and not _SIZE.fullmatch(line):
        raise BadMessage("bad-chunk-size")
    if len(data) - at >= _LINE_LIMIT:
        raise BadMessage("chunk-line-too-long")


def reader(length: int, *, chunked: bool) -> Body:
    """What reads a body of `length` bytes, or of UNKNOWN length in chunks or up to the connection's end."""
    if length != UNKNOWN:
        return LengthBody(length)
    return ChunkedBody() if chunked else CloseBody()
