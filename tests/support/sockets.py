"""A WebSocket server made by `websockets` for tests: `sockets.py ADDRESS PORT`.

`/echo` sends back what comes. `/push` tells what comes to all who are there. `/close` closes with
code 4321 when something comes. `/asks` says who asks.
"""

import asyncio
import sys

from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

pushed: set[ServerConnection] = set()


async def handle(talk: ServerConnection) -> None:
    assert talk.request is not None
    path = talk.request.path
    if path == "/asks":
        await talk.send(talk.request.headers.get("tulle-client-id", ""))
    if path == "/push":
        pushed.add(talk)
    try:
        async for message in talk:
            if path == "/close":
                await talk.close(4321, "enough of that")
            elif path == "/push":
                broadcast(pushed, message)
            else:
                await talk.send(message)
    except ConnectionClosed:
        pass
    finally:
        pushed.discard(talk)


async def main() -> None:
    async with serve(handle, sys.argv[1], int(sys.argv[2]), max_size=None) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
