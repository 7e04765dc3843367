"""The transport header: what one proxy tells the next before the first byte of traffic.

u8   version, 1
u16  target port, big-endian: the application's port at the far end
u8   protocol: 0 TCP, 1 HTTP/1, 2 HTTP/2
u16  length of what follows, reserved; skipped by whoever does not know it
"""

import struct

from common.errors import MeshError
from proxy.transport.detect import Protocol

VERSION = 1
ALPN = "tulle/1"
_FIXED = struct.Struct(">BHBH")
SIZE = _FIXED.size
RESERVED_LIMIT = 1024


class BadTransportHeader(MeshError):
    """The peer does not speak this version of the transport, or not at all."""

    reason = "bad-transport-header"


def write(port: int, protocol: Protocol) -> bytes:
    """The header for a connection to the application's `port`."""
    return _FIXED.pack(VERSION, port, protocol.value, 0)


def read(data: bytes) -> tuple[int, Protocol, int] | None:
    """Target port, protocol, and length of the header at the start of `data`; None if it is not all there.

    Raises BadTransportHeader.
    """
    if data and data[0] != VERSION:
        raise BadTransportHeader(f"version {data[0]}: expected {VERSION}")
    if len(data) < SIZE:
        return None
    _, port, number, reserved = _FIXED.unpack_from(data)
    if not port:
        raise BadTransportHeader("port 0: expected 1 to 65535")
    if reserved > RESERVED_LIMIT:
        raise BadTransportHeader(f"{reserved} reserved bytes: expected {RESERVED_LIMIT} at most")
    try:
        protocol = Protocol(number)
    except ValueError:
        raise BadTransportHeader(f"protocol {number}: expected 0, 1 or 2") from None
    if len(data) < SIZE + reserved:
        return None
    return port, protocol, SIZE + reserved
