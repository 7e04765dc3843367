"""An application whose replicas answer with the status in the file MOODS/REPLICA, or with 200 if there is none.

`moody.py ADDRESS PORT`. A mood of 0 cuts the connection.
"""

import os
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Moody(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().setup()

    def do_GET(self) -> None:
        mood = Path(os.environ["MOODS"], os.environ["REPLICA"])
        status = int(mood.read_text()) if mood.exists() else 200
        if not status:
            self.close_connection = True
            return
        body = os.environ["REPLICA"].encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    Server((sys.argv[1], int(sys.argv[2])), Moody).serve_forever()
