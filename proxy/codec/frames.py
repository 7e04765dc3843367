"""HTTP/2 frames: bytes to values and back (RFC 9113 §4 and §6), and the errors that end a stream or all."""

import struct
from enum import IntEnum

from common.errors import MeshError

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEAD = struct.Struct(">LBL")
HEAD_SIZE = _HEAD.size
pack, unpack = _HEAD.pack, _HEAD.unpack_from
"""The head of a frame: length (24 bits) and type (8 bits) in one number, flags, stream."""
FRAME_LIMIT = 16_384
"""Payload of a frame that we send or take: the size that every peer must accept (§4.2)."""
LARGEST_WINDOW = 2**31 - 1
DEFAULT_WINDOW = 65_535


class Kind:
    """Frame types (§6): plain numbers, because each frame is compared with several."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Flag:
    """Frame flags: plain numbers, as above. ACK and END_STREAM share a bit."""

    END_STREAM = 0x1
    ACK = 0x1
    END_HEADERS = 0x4
    PADDED = 0x8
    PRIORITY = 0x20


class Code(IntEnum):
    """Error codes (§7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class Setting(IntEnum):
    """Settings (§6.5.2)."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class ConnectionBroken(MeshError):
    """The peer broke a rule after which the connection cannot go on (§5.4.1)."""

    reason = "connection-broken"

    def __init__(self, code: Code, word: str) -> None:
        super().__init__(f"{code.name}: {word}")
        self.code = code
        self.word = word


class StreamBroken(MeshError):
    """The peer broke a rule that concerns one stream (§5.4.2)."""

    reason = "stream-broken"

    def __init__(self, stream: int, code: Code, word: str) -> None:
        super().__init__(f"stream {stream}: {code.name}: {word}")
        self.stream = stream
        self.code = code
        self.word = word


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame; `payload` must not be longer than the peer takes."""
    return pack(len(payload) << 8 | kind, flags, stream) + payload


def settings(values: dict[Setting, int]) -> bytes:
    """A SETTINGS frame."""
    payload = b"".join(struct.pack(">HL", key, value) for key, value in values.items())
    return frame(Kind.SETTINGS, 0, 0, payload)


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """The settings of a frame, in order; raises ConnectionBroken if one has a forbidden value (§6.5.2)."""
    if len(payload) % 6:
        raise ConnectionBroken(Code.FRAME_SIZE_ERROR, "settings-size")
    pairs = list(struct.iter_unpack(">HL", payload))
    for key, value in pairs:
        if key == Setting.ENABLE_PUSH and value > 1:
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "enable-push")
        if key == Setting.INITIAL_WINDOW_SIZE and value > LARGEST_WINDOW:
            raise ConnectionBroken(Code.FLOW_CONTROL_ERROR, "initial-window-size")
        if key == Setting.MAX_FRAME_SIZE and not FRAME_LIMIT <= value < 2**24:
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "max-frame-size")
    return pairs


def window_update(stream: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame; stream 0 is the connection."""
    return frame(Kind.WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


def rst_stream(stream: int, code: Code) -> bytes:
    """A RST_STREAM frame."""
    return frame(Kind.RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def goaway(last: int, code: Code, debug: bytes = b"") -> bytes:
    """A GOAWAY frame: streams above `last` were not, and will not be, looked at."""
    return frame(Kind.GOAWAY, 0, 0, struct.pack(">LL", last, code) + debug)


def headers(stream: int, block: bytes, *, end: bool) -> bytes:
    """A header block as a HEADERS frame and as many CONTINUATION frames as it needs."""
    flags = Flag.END_STREAM if end else 0
    if len(block) <= FRAME_LIMIT:
        return frame(Kind.HEADERS, flags | Flag.END_HEADERS, stream, block)
    frames = [frame(Kind.HEADERS, flags, stream, block[:FRAME_LIMIT])]
    for at in range(FRAME_LIMIT, len(block), FRAME_LIMIT):
        last = at + FRAME_LIMIT >= len(block)
        frames.append(
            frame(
                Kind.CONTINUATION,
                Flag.END_HEADERS if last else 0,
                stream,
                block[at : at + FRAME_LIMIT],
            )
        )
    return b"".join(frames)


def unpadded(flags: int, payload: bytes) -> bytes:
    """The payload of a DATA or HEADERS frame without padding (§6.1); raises ConnectionBroken."""
    if not flags & Flag.PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ConnectionBroken(Code.PROTOCOL_ERROR, "padding")
    return payload[1 : len(payload) - payload[0]]
