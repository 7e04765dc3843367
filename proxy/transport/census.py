"""The connections that are open, and the bytes that wait in them to be sent.

Whoever accepts or connects names its transports here. They are looked at when somebody asks, so that
nothing is counted while bytes move.
"""

import asyncio
from weakref import WeakSet

_transports: "WeakSet[asyncio.Transport]" = WeakSet()


def enter(transport: asyncio.Transport) -> None:
    """A connection was made; it leaves by itself when it is closed."""
    _transports.add(transport)


def buffered_bytes() -> int:
    """What was written to connections and not yet given to their sockets, over all of them."""
    # One that is closing has it still until its peer has taken it.
    return sum(transport.get_write_buffer_size() for transport in list(_transports))
