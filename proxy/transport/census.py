"""The connections that are open, and the bytes that wait in them to be sent.

Whoever accepts or connects names its transports here. They are looked at when somebody asks, so that
nothing is counted while bytes move; and every few seconds for peers that left while nobody read from them.
"""

import asyncio
import resource
import socket
from weakref import WeakSet

import anyio

LOOK_SECONDS = 3.0
RESERVED = 64
"""Descriptors that connections leave for the bus, the admin port and files."""
_CLOSED = 7
"""TCP_CLOSE, from linux/tcp_states.h."""

_transports: "WeakSet[asyncio.Transport]" = WeakSet()


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
    """Look for connections that broke, for ever."""
    while True:
        await anyio.sleep(LOOK_SECONDS)
        end_broken()


def end_broken() -> None:
    """End the connections that broke while nobody read from them.

    Who does not read is told nothing by the event loop: neither of a reset nor of a peer that keep-alive
    found to be gone. It may not read because the other side is slow, or because the peer's end came already.
    """
    for transport in list(_transports):
        if not transport.is_reading() and not transport.is_closing() and _is_broken(transport):
            transport.abort()


def _is_broken(transport: asyncio.Transport) -> bool:
    connection: socket.socket = transport.get_extra_info("socket")
    try:
        return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _CLOSED
    except OSError:
        return True
