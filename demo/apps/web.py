"""web: makes a page of what books recommends; without a recommendation the page is shorter.

With RATINGS it asks for readers' opinions too, by gRPC.
"""

import json
import os
from typing import TYPE_CHECKING

from demo.apps.plain import Answer, Client, serve

if TYPE_CHECKING:
    from demo.apps.ratings import Ratings

books = Client(os.environ.get("BOOKS", "http://books:8000"))
sent = {"books": books.tally}
ratings: "Ratings | None" = None
if target := os.environ.get("RATINGS"):
    # Only now: it needs grpcio.
    from demo.apps.ratings import Ratings

    ratings = Ratings(target)
    sent |= {"ratings": ratings.tally}


def answer(path: str) -> Answer:
    """`/`."""
    status, body = books.get("/recommended")
    book = json.loads(body) if status == 200 else None
    page = {"shop": "Tulle & Sons", "recommended": book}
    if book and ratings:
        page["readers"] = ratings.of(book["title"])
    return 200, json.dumps(page).encode()


if __name__ == "__main__":
    serve(answer, sent)
