"""ratings: what readers thought of a book, by gRPC. Needs grpcio.

`Stars` is a unary call, and every FAIL_EVERYth ends with INTERNAL; `Reviews` is answered with a stream.
Messages are plain text, so that nothing has to be generated.
"""

import itertools
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc

from demo.apps.plain import Tally, keep_saying, listen_at, say, until_told

SERVICE = "shop.Ratings"
FAIL_EVERY = int(os.environ.get("FAIL_EVERY", "0"))
REVIEWS = ("Could not put it down.", "Better than the film.", "It ended too soon.")
_SECONDS = 10
_GRACE_SECONDS = 1


class Ratings:
    """Asks the server at `target`, which is `host:port`. May be used by many threads."""

    def __init__(self, target: str) -> None:
        channel = grpc.insecure_channel(target)
        self._stars: grpc.UnaryUnaryMultiCallable[bytes, bytes]
        self._reviews: grpc.UnaryStreamMultiCallable[bytes, bytes]
        self._stars = channel.unary_unary(f"/{SERVICE}/Stars")
        self._reviews = channel.unary_stream(f"/{SERVICE}/Reviews")
        self.tally = Tally()

    def of(self, title: str) -> dict[str, object]:
        """Stars and reviews of a book; what could not be told is left out."""
        told: dict[str, object] = {}
        with counted(self.tally):
            told["stars"] = int(self._stars(title.encode(), timeout=_SECONDS))
        with counted(self.tally):
            reviews = self._reviews(title.encode(), timeout=_SECONDS)
            told["reviews"] = [review.decode() for review in reviews]
        return told


@contextmanager
def counted(tally: Tally) -> Iterator[None]:
    """Counts the one call that is made within; if that fails, that is all."""
    started = time.monotonic()
    try:
        yield
    except grpc.RpcError as error:
        tally.add(error.code().name, started, failed=True)
    else:
        tally.add("OK", started, failed=False)


class Servicer:
    """Answers calls."""

    def __init__(self) -> None:
        self.tally = Tally()
        self._turns = itertools.count(1)

    def stars(self, title: bytes, context: grpc.ServicerContext) -> bytes:
        """Three to five: who reads, likes."""
        started = time.monotonic()
        fails = FAIL_EVERY > 0 and next(self._turns) % FAIL_EVERY == 0
        self.tally.add("INTERNAL" if fails else "OK", started, failed=fails)
        if fails:
            context.abort(grpc.StatusCode.INTERNAL, "the stars are being counted")
        return b"%d" % (3 + len(title) % 3)

    def reviews(self, _title: bytes, _context: grpc.ServicerContext) -> Iterator[bytes]:
        """One message after the other."""
        started = time.monotonic()
        for review in REVIEWS:
            yield review.encode()
        self.tally.add("OK", started, failed=False)


def main() -> None:
    """Answer calls on HOST and PORT until told to end (SIGTERM)."""
    stop = until_told()
    servicer = Servicer()
    methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Stars": grpc.unary_unary_rpc_method_handler(servicer.stars),
        "Reviews": grpc.unary_stream_rpc_method_handler(servicer.reviews),
    }
    server = grpc.server(ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    server.add_insecure_port("{}:{}".format(*listen_at()))
    server.start()
    keep_saying(servicer.tally, {}, stop)
    server.stop(_GRACE_SECONDS).wait()
    say(servicer.tally, {})


if __name__ == "__main__":
    main()
