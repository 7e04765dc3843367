"""The connections that are open, and the bytes that wait in them to be sent.

Whoever accepts or connects names its transports here. Nothing is counted while bytes move: they are looked
at once a second, and when somebody asks.
"""

import asyncio
import contextlib
import itertools
import logging
import resource
import socket
import struct
from weakref import WeakSet

import anyio

from common.log import fields

log = logging.getLogger(__name__)
LOOK_SECONDS = 1.0
BROKEN_LOOKS = 3
"""Every so many looks those are found that broke while nobody read from them."""
BUFFERED_LIMIT = 256 * 1024 * 1024
"""Bytes that may wait in all connections; beyond that those are ended that stalled longest ago."""
RESERVED = 64
"""Descriptors that connections leave for the bus, the admin port and files."""
_CLOSED = 7
"""TCP_CLOSE, from linux/tcp_states.h."""
_OVER = bytes([_CLOSED]).ljust(48, b"\0")
_LAST_DATA_SENT = struct.Struct("=I")

_transports: "WeakSet[asyncio.Transport]" = WeakSet()


class Shed:
    """Connections that were ended because too much waited in all of them: a counter."""

    total = 0


def enter(transport: asyncio.Transport) -> None:
    """A connection was made; it leaves by itself when it is closed."""
    _transports.add(transport)


def claim_descriptors(wanted: int) -> None:
    """Raise the limit of this process to `wanted` descriptors, or as many as it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def is_crowded(connection: socket.socket) -> bool:
    """Whether a connection took one of the last descriptors, which are for others (the lowest go first)."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return most != resource.RLIM_INFINITY and connection.fileno() >= most - RESERVED


def buffered_bytes() -> int:
    """What was written to connections and not yet given to their sockets, over all of them."""
    # One that is closing has it still until its peer has taken it.
    return sum(transport.get_write_buffer_size() for transport in list(_transports))


async def run() -> None:
    """Look at them for ever."""
    for look in itertools.count(1):
        await anyio.sleep(LOOK_SECONDS)
        end_stalled(BUFFERED_LIMIT)
        if look % BROKEN_LOOKS == 0:
            end_broken()


def end_stalled(limit: int) -> None:
    """End the connections whose peers have taken nothing for longest, until `limit` bytes wait in all.

    Each holds little, because nothing more is read for a peer that does not take it; but there may be many.
    """
    left = buffered_bytes()
    if left <= limit:
        return
    waiting = [transport for transport in _transports if transport.get_write_buffer_size()]
    for transport in sorted(waiting, key=_stalled_ms, reverse=True):
        left -= transport.get_write_buffer_size()
        transport.abort()
        Shed.total += 1
        if left <= limit:
            break
    log.warning("too much waited to be sent", extra=fields(ended=Shed.total, left=left))


def _stalled_ms(transport: asyncio.Transport) -> int:
    """Milliseconds since anything was sent."""
    return int(_LAST_DATA_SENT.unpack_from(_tcp_info(transport), 44)[0])


def end_broken() -> None:
    """End the connections that broke while nobody read from them.

    Who does not read is told nothing by the event loop: neither of a reset nor of a peer that keep-alive
    found to be gone. It may not read because the other side is slow, or because the peer's end came already.
    """
    for transport in list(_transports):
        if not transport.is_reading() and not transport.is_closing() and _is_broken(transport):
            transport.abort()


def _is_broken(transport: asyncio.Transport) -> bool:
    return _tcp_info(transport)[0] == _CLOSED


def _tcp_info(transport: asyncio.Transport) -> bytes:
    """The begin of a struct tcp_info (linux/tcp.h); of one that is over, that it is."""
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError, ValueError):
            return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, len(_OVER))
    return _OVER
