"""`python -m benchmarks.bulk HOST PORT CONNECTIONS SECONDS`: takes in bytes as fast as they come.

The kernel discards what arrives, so that this program costs next to nothing.
"""

import selectors
import socket
import sys
import time
from typing import cast

import msgspec

from benchmarks.loads import Done

_AT_ONCE = 1 << 20
_REQUEST = b"GET /bulk HTTP/1.1\r\nhost: origin\r\n\r\n"


def take(host: str, port: int, connections: int, seconds: float) -> Done:
    """Ask for the file that has no end on each connection, and count what comes for so many seconds."""
    unused = bytearray(_AT_ONCE)
    with selectors.DefaultSelector() as selector:
        opened = [socket.create_connection((host, port)) for _ in range(connections)]
        for connection in opened:
            connection.sendall(_REQUEST)
            if not connection.recv(16).startswith(b"HTTP/1.1 200"):
                return Done(count=0, failed=1, per_second=0.0)
            selector.register(connection, selectors.EVENT_READ)
        began = time.monotonic()
        received = ended = 0
        while (now := time.monotonic()) < began + seconds:
            for key, _ in selector.select(began + seconds - now):
                connection = cast(socket.socket, key.fileobj)
                # tcp(7): MSG_TRUNC throws the bytes away instead of copying them.
                count = connection.recv_into(unused, _AT_ONCE, socket.MSG_TRUNC)
                received += count
                if not count:
                    selector.unregister(connection)
                    ended += 1
        for connection in opened:
            connection.close()
    return Done(count=received, failed=ended, per_second=received / (time.monotonic() - began))


if __name__ == "__main__":
    found = take(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
    sys.stdout.buffer.write(msgspec.json.encode(found))
