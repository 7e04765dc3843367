"""Holds a new connection's place until its user is there, and loses nothing meanwhile.

uvloop begins to read after `connection_made`, even if that paused reading: the first bytes may come
before anybody knows what to do with them.
"""

import asyncio
from typing import cast

from proxy.transport.stream import Stream


class Waiting(asyncio.Protocol):
    """The protocol of a connection that has no user yet: keeps what comes, and lets no more in."""

    def __init__(self) -> None:
        self.early = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Do not read yet."""
        # uvloop's transports are of no class that asyncio knows.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Somebody was quick."""
        self.early += data
        assert self._transport is not None
        self._transport.pause_reading()

    def eof_received(self) -> bool:
        """They say no more, and will say that again to whoever reads."""
        return True


def adopt(stream: Stream, user: asyncio.Protocol) -> bytes:
    """Make `user` the protocol of a stream; returns what came while the stream had none."""
    before = getattr(stream, "get_protocol", lambda: None)()
    stream.set_protocol(user)
    return before.early if isinstance(before, Waiting) else b""
