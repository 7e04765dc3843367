"""books: recommends a book and asks authors who wrote it. Every MISSPELL_EVERYth time it asks for nobody.

With CACHE it counts there how often it has recommended each.
"""

import itertools
import json
import os

from demo.apps.cache import Cache
from demo.apps.plain import Answer, Client, serve

BOOKS = [
    ("Persuasion", "austen"),
    ("Solaris", "lem"),
    ("Beloved", "morrison"),
    ("Austerlitz", "sebald"),
    ("Orlando", "woolf"),
]
MISSPELL_EVERY = int(os.environ.get("MISSPELL_EVERY", "0"))

authors = Client(os.environ.get("AUTHORS", "http://authors:8000"))
cache = Cache(os.environ["CACHE"]) if "CACHE" in os.environ else None
sent = {"authors": authors.tally} | ({"cache": cache.tally} if cache else {})
turns = itertools.count(1)


def answer(path: str) -> Answer:
    """`/recommended`."""
    turn = next(turns)
    title, author = BOOKS[turn % len(BOOKS)]
    if MISSPELL_EVERY and turn % MISSPELL_EVERY == 0:
        author = author[::-1]
    status, body = authors.get(f"/authors/{author}")
    if status != 200:
        return 500, json.dumps({"error": f"authors answered {status}"}).encode()
    book = {"title": title, "author": json.loads(body)["name"]}
    if cache:
        book["recommended"] = cache.increment(title)
    return 200, json.dumps(book).encode()


if __name__ == "__main__":
    serve(answer, sent)
