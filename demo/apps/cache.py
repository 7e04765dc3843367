"""cache: keeps counts by name, in lines over plain TCP. It speaks first, as mail servers and databases do.

cache:   + cache
client:  INCR Solaris
cache:   + 42
"""

import itertools
import queue
import socket
import time
from collections import defaultdict
from collections.abc import Iterator
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread
from urllib.parse import urlsplit
from urllib.request import getproxies

from demo.apps.plain import Tally, keep_saying, listen_at, say, until_told

QUESTIONS = 10
"""A connection is used so often and then replaced, so that there are new ones to be seen."""
_SECONDS = 10


class Cache:
    """Asks the server at `place`, which is `host:port`, on connections that it keeps. Many threads may.

    The tally is of connections, and of how long it took until each was greeted.
    """

    def __init__(self, place: str) -> None:
        self._place = place
        self._idle: queue.LifoQueue[Talk] = queue.LifoQueue()
        self.tally = Tally()

    def increment(self, name: str) -> int | None:
        """Count one more; returns how many there are now, None if that could not be told."""
        try:
            talk = self._talk()
            count = int(talk.ask(f"INCR {name}"))
        except (OSError, ValueError):
            return None
        if talk.asked < QUESTIONS:
            self._idle.put(talk)
        else:
            talk.close()
        return count

    def _talk(self) -> "Talk":
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            pass
        started = time.monotonic()
        try:
            talk = Talk(self._place)
        except (OSError, ValueError) as error:
            self.tally.add(type(error).__name__, started, failed=True)
            raise
        self.tally.add("greeted", started, failed=False)
        return talk


class Talk:
    """A connection to the cache at `host:port`; honours `http_proxy`. Raises OSError and ValueError."""

    def __init__(self, place: str) -> None:
        proxy = urlsplit(getproxies().get("http", "")).netloc
        host, _, port = (proxy or place).rpartition(":")
        self._socket = socket.create_connection((host, int(port)), _SECONDS)
        self._lines = self._socket.makefile("rwb")
        self.asked = 0
        try:
            if proxy:
                self._dig(place)
            self._hear()
        except BaseException:
            self.close()
            raise

    def ask(self, question: str) -> str:
        """One question, one answer."""
        self.asked += 1
        try:
            self._lines.write(f"{question}\n".encode())
            self._lines.flush()
            return self._hear()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Hang up."""
        self._lines.close()
        self._socket.close()

    def _hear(self) -> str:
        sign, _, said = self._lines.readline().decode().strip().partition(" ")
        if sign != "+":
            raise ValueError(f"the cache says {sign} {said}")
        return said

    def _dig(self, place: str) -> None:
        """A tunnel through the proxy (RFC 9110 §9.3.6): what follows is from the cache itself."""
        self._lines.write(f"CONNECT {place} HTTP/1.1\r\nhost: {place}\r\n\r\n".encode())
        self._lines.flush()
        if b" 200" not in self._lines.readline():
            raise ConnectionRefusedError(f"no tunnel to {place}")
        while self._lines.readline().strip():
            pass


class Server(ThreadingTCPServer):
    """The counts, and a tally of connections."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(listen_at(), Client)
        self.tally = Tally()
        self.counts: defaultdict[str, Iterator[int]] = defaultdict(lambda: itertools.count(1))


class Client(StreamRequestHandler):
    """One connection, until the client hangs up."""

    server: Server
    disable_nagle_algorithm = True

    def handle(self) -> None:
        """Greet it and do as it says."""
        started = time.monotonic()
        self.wfile.write(b"+ cache\n")
        for line in self.rfile:
            word, _, name = line.decode().strip().partition(" ")
            known = word == "INCR"
            self.wfile.write(b"+ %d\n" % next(self.server.counts[name]) if known else b"- what?\n")
        self.server.tally.add("done", started, failed=False)


def main() -> None:
    """Answer on HOST and PORT until told to end (SIGTERM)."""
    stop = until_told()
    with Server() as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        keep_saying(server.tally, {}, stop)
        server.shutdown()
    say(server.tally, {})


if __name__ == "__main__":
    main()
