"""`python -m benchmarks.idle HOST PORT COUNT`: connections that have been used once and then say nothing.

Prints "open" when all are there, and closes them when its standard input ends.
"""

import socket
import sys


def opened(host: str, port: int) -> socket.socket:
    """A kept connection over which one request was answered; raises OSError."""
    connection = socket.create_connection((host, port))
    connection.settimeout(10)
    connection.sendall(f"GET / HTTP/1.1\r\nhost: {host}:{port}\r\n\r\n".encode())
    answer = connection.recv(4096)
    if not answer.startswith(b"HTTP/1.1 200"):
        raise OSError(f"answered {answer[:60]!r}")
    return connection


if __name__ == "__main__":
    kept = [opened(sys.argv[1], int(sys.argv[2])) for _ in range(int(sys.argv[3]))]
    sys.stdout.write("open\n")
    sys.stdout.flush()
    sys.stdin.read()
