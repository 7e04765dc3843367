"""Opaque TCP applications for tests: `talkers.py ADDRESS PORT echo|greeter|upgrade`.

echo: sends back what it reads, and ends its half after the client has ended its own.
greeter: speaks first, then behaves like echo.
upgrade: answers an HTTP upgrade with 101, then behaves like echo.
"""

import socketserver
import sys


class Talker(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        if sys.argv[3] == "greeter":
            self.request.sendall(b"220 ready\r\n")
        if sys.argv[3] == "upgrade":
            head = b""
            while b"\r\n\r\n" not in head:
                head += self.request.recv(4096)
            head, _, early = head.partition(b"\r\n\r\n")
            assert b"upgrade: echo" in head.lower()
            self.request.sendall(
                b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n"
            )
            self.request.sendall(early)
        while data := self.request.recv(65536):
            self.request.sendall(data)
        self.request.sendall(b"bye")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    Server((sys.argv[1], int(sys.argv[2])), Talker).serve_forever()
