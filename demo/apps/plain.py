"""What the demo's programs share: an HTTP/1.1 server, a client with keep-alive, and tallies.

Each program says once a second, and when it ends, what it has counted: one line of JSON on its standard
output. Whoever doubts the mesh's figures can compare.
"""

import json
import os
import queue
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

Answer = tuple[int, bytes]
GONE = 502
"""Stands for the status where no answer came at all."""
READY = "/ready"
"""What Kubernetes asks for; it is not counted."""


class Tally:
    """Counts requests by status, and how long they took."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._statuses: Counter[str] = Counter()
        self._failures = 0
        self._ms: list[float] = []

    def add(self, status: int | str, started: float, *, failed: bool) -> None:
        """One more request, begun at `started` on time.monotonic()."""
        took = (time.monotonic() - started) * 1000
        with self._lock:
            self._ms.append(took)
            self._statuses[str(status)] += 1
            self._failures += failed

    def figures(self) -> dict[str, object]:
        """Requests, failures, statuses and exact percentiles in milliseconds so far."""
        with self._lock:
            ordered = sorted(self._ms)
            figures: dict[str, object] = {
                "requests": len(ordered),
                "failures": self._failures,
                "statuses": dict(self._statuses),
            }
        for percent in (50, 95, 99, 100) if ordered else ():
            figures[f"p{percent}_ms"] = round(ordered[(len(ordered) - 1) * percent // 100], 2)
        return figures


Tallies = Mapping[str, Tally]
"""What was sent, by whom it was sent to."""


class Client:
    """Asks one server, on connections that it keeps; honours `http_proxy` as urllib does.

    `url` is `http://host:port`. May be used by many threads.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host = parts.netloc
        self._prefix = ""
        self._connect_to = parts.netloc
        proxy = getproxies().get("http", "")
        if proxy and not proxy_bypass(parts.netloc):
            # RFC 9112 §3.2.2: a client of a proxy sends the whole URL.
            self._prefix = f"http://{parts.netloc}"
            self._connect_to = urlsplit(proxy).netloc
        self._idle: queue.LifoQueue[HTTPConnection] = queue.LifoQueue()
        self.tally = Tally()

    def get(self, path: str) -> Answer:
        """GET; GONE if no answer came. A kept connection that turns out closed is replaced once."""
        started = time.monotonic()
        status, body = self._try(path)
        self.tally.add(status, started, failed=status >= 500)
        return status, body

    def _try(self, path: str) -> Answer:
        try:
            return self._ask(self._idle.get_nowait(), path)
        except (queue.Empty, ConnectionError, HTTPException):
            pass
        try:
            return self._ask(HTTPConnection(self._connect_to, timeout=10), path)
        except (OSError, HTTPException) as error:
            return GONE, repr(error).encode()

    def _ask(self, connection: HTTPConnection, path: str) -> Answer:
        try:
            connection.request("GET", self._prefix + path, headers={"Host": self.host})
            response = connection.getresponse()
            answer = response.status, response.read()
        except BaseException:
            connection.close()
            raise
        self._idle.put(connection)
        return answer


def serve(answer: Callable[[str], Answer], sent: Tallies | None = None) -> None:
    """Answer GET requests on HOST and PORT until told to end (SIGTERM)."""
    handled = Tally()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # One write per answer, sent at once: no waiting for the other side's delayed ACK.
        wbufsize = -1
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            started = time.monotonic()
            asked = self.path != READY
            status, body = answer(self.path) if asked else (200, b'{"ready": true}')
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            if asked:
                handled.add(status, started, failed=status >= 500)

        def log_message(self, format: str, *args: object) -> None:
            """A line per request would drown the tally."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 128

    stop = until_told()
    server = Server(listen_at(), Handler)
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
    ).start()
    keep_saying(handled, sent or {}, stop)
    server.shutdown()
    server.server_close()
    say(handled, sent or {})


def keep_saying(handled: Tally | None, sent: Tallies, stop: threading.Event) -> None:
    """Say the tallies every second until `stop`."""
    while not stop.wait(1.0):
        say(handled, sent)


def say(handled: Tally | None, sent: Tallies) -> None:
    """One line of JSON with everything counted so far."""
    line: dict[str, object] = {"time": round(time.time(), 3)}
    if handled:
        line["handled"] = handled.figures()
    if sent:
        line["sent"] = {name: tally.figures() for name, tally in sent.items()}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def listen_at() -> tuple[str, int]:
    """Where HOST and PORT say that a program should listen."""
    return os.environ.get("HOST", "0.0.0.0"), int(os.environ.get("PORT", "8000"))


def until_told() -> threading.Event:
    """An event that is set on SIGTERM or SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
