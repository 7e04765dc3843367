"""An application that leaves in good order: `steadfast.py ADDRESS HTTP_PORT TCP_PORT`.

It answers HTTP/1.1 as echo.py does, and on the other port sends back what it reads. Asked to end, it
serves on for LINGER_SECONDS, as a program must whose clients are only now told that it leaves, and then
until nobody is connected to the other port.
"""

import os
import signal
import socketserver
import sys
import threading
import time
from types import FrameType

from tests.support.echo import Echo, Server

LINGER_SECONDS = 2.0

talks: set[socketserver.BaseRequestHandler] = set()


class Back(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        talks.add(self)
        while data := self.request.recv(65536):
            self.request.sendall(data)
        talks.discard(self)


class Talker(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


def leave() -> None:
    time.sleep(LINGER_SECONDS)
    while talks:
        time.sleep(0.05)
    os._exit(0)


def asked_to_leave(_number: int, _frame: FrameType | None) -> None:
    threading.Thread(target=leave, daemon=True).start()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, asked_to_leave)
    address = sys.argv[1]
    talker = Talker((address, int(sys.argv[3])), Back)
    threading.Thread(target=talker.serve_forever, daemon=True).start()
    Server((address, int(sys.argv[2])), Echo).serve_forever()
