"""traffic: asks for the page at URL, RATE times a second, until told to end (SIGTERM)."""

import os
import threading
import time
from urllib.parse import urlsplit

from demo.apps.plain import Client, keep_saying, say, until_told

THREADS = 4


def visit(client: Client, path: str, every: float, stop: threading.Event) -> None:
    """Ask every `every` seconds; after a slow answer go on from now, without catching up."""
    due = time.monotonic()
    while not stop.wait(max(0.0, due - time.monotonic())):
        client.get(path)
        due = max(due + every, time.monotonic())


def main() -> None:
    """Visit until told to end; a visit that has begun is waited for."""
    stop = until_told()
    url = urlsplit(os.environ.get("URL", "http://web:8000/"))
    every = THREADS / float(os.environ.get("RATE", "30"))
    client = Client(f"http://{url.netloc}")
    visitors = [
        threading.Thread(target=visit, args=(client, url.path or "/", every, stop))
        for _ in range(THREADS)
    ]
    for visitor in visitors:
        visitor.start()
    sent = {url.hostname or "": client.tally}
    keep_saying(None, sent, stop)
    for visitor in visitors:
        visitor.join()
    say(None, sent)


if __name__ == "__main__":
    main()
