"""authors: knows who wrote what. DELAY_MS makes it slow; a name it does not know makes it fail."""

import json
import os
import time

from demo.apps.plain import Answer, serve

AUTHORS = {
    "austen": "Jane Austen",
    "lem": "Stanisław Lem",
    "morrison": "Toni Morrison",
    "sebald": "W. G. Sebald",
    "woolf": "Virginia Woolf",
}
DELAY = float(os.environ.get("DELAY_MS", "0")) / 1000


def answer(path: str) -> Answer:
    """`/authors/NAME`."""
    time.sleep(DELAY)
    name = path.rpartition("/")[2]
    if name not in AUTHORS:
        return 500, json.dumps({"error": f"no author {name!r} in the table"}).encode()
    return 200, json.dumps({"name": AUTHORS[name]}).encode()


if __name__ == "__main__":
    serve(answer)
