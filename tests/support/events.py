"""An HTTP/1.1 server for tests whose answers take their time: `events.py ADDRESS PORT`, plain Python.

GET  /events    server-sent events, one for each word that is told from then on
GET  /next      the next word that is told (long polling)
GET  /waiting   how many wait for words now
POST /tell      tell a word to all who wait
PUT  /discard   reads a body of any size; answers with its length
"""

import contextlib
import queue
import select
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

listening: list["queue.Queue[bytes]"] = []
PIECE = 256 * 1024


class Events(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().setup()

    def do_GET(self) -> None:
        if self.path == "/waiting":
            self._answer(str(len(listening)).encode())
            return
        words: queue.Queue[bytes] = queue.Queue()
        listening.append(words)
        if self.path == "/next":
            word = words.get()
            listening.remove(words)
            self._answer(word)
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        while not self._is_gone():
            with contextlib.suppress(queue.Empty):
                event = b"data: " + words.get(timeout=0.05) + b"\n\n"
                self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
        listening.remove(words)
        self.close_connection = True

    def do_POST(self) -> None:
        word = self._body()
        for words in list(listening):
            words.put(word)
        self._answer(b"told")

    def do_PUT(self) -> None:
        left = length = int(self.headers["content-length"])
        while left:
            piece = self.rfile.read1(min(left, PIECE))
            if not piece:
                raise ConnectionError("the body is not complete")
            left -= len(piece)
        self._answer(str(length).encode())

    def _is_gone(self) -> bool:
        """Whether the client has left: nobody who listens says anything."""
        return bool(select.select([self.request], [], [], 0)[0])

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length", "0")))

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    Server((sys.argv[1], int(sys.argv[2])), Events).serve_forever()
