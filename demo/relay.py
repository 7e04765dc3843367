"""Lets people outside reach a port inside, where no network leads.

A listening socket belongs to the network namespace in which it was made, for ever. So the launcher
listens outside and its inner side inherits the socket: it accepts outside and connects inside.
"""

import socket

import anyio
from anyio.abc import SocketListener, SocketStream

from demo.messages import Relay


async def run(relay: Relay) -> None:
    """Serve one relay for ever."""
    listener = await SocketListener.from_socket(socket.socket(fileno=relay.fd))

    async def carry(outside: SocketStream) -> None:
        async with outside:
            try:
                inside = await anyio.connect_tcp(relay.host, relay.port)
            except OSError:
                return
            async with inside, anyio.create_task_group() as both:
                both.start_soon(_copy, outside, inside)
                both.start_soon(_copy, inside, outside)

    await listener.serve(carry)


async def _copy(source: SocketStream, target: SocketStream) -> None:
    """Copy until the end of `source`, and tell `target` that it ended."""
    try:
        async for data in source:
            await target.send(data)
        await target.send_eof()
    except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
        await target.aclose()
