"""web: makes a page of what books recommends; without a recommendation the page is shorter."""

import json
import os

from demo.apps.plain import Answer, Client, serve

books = Client(os.environ.get("BOOKS", "http://books:8000"))


def answer(path: str) -> Answer:
    """`/`."""
    status, body = books.get("/recommended")
    page = {"shop": "Tulle & Sons", "recommended": json.loads(body) if status == 200 else None}
    return 200, json.dumps(page).encode()


if __name__ == "__main__":
    serve(answer, {"books": books})
