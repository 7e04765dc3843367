"""A client of many protocols that knows of no proxy: `steady.py SERVICE HTTP TCP HTTP2 GRPC LONG_SECONDS PACE`.

It sends to the four ports of the service (see polyglot.py), some of what it sends taking LONG_SECONDS, with
pauses that are PACE times as long as they are otherwise. For each
line on its standard input it says how all has gone so far, a Tally for each kind of traffic; at the end
of its input it finishes what it has begun, and says so once more.
"""

import os
import sys

import anyio
import msgspec

from tests.support import load
from tests.support.grpc_load import Grpc
from tests.support.http2_load import Http2
from tests.support.load import Http, Target, Tcp, Traffic
from tests.support.polyglot import LARGE, SMALL


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """How one kind of traffic has gone."""

    name: str
    answered: int
    refused: int
    lost: list[str]


def traffic(service: str, ports: list[int], long: float, pace: float) -> list[Traffic]:
    """Some of every kind."""
    http, tcp, http2, grpc = (
        Target((service, port), f"{service}:{port}", direct=True) for port in ports
    )
    short, part = 0.02 * pace, long / 10
    return [
        Http(http, pause=short),
        Http(http, size=2000, pause=short),
        Http(http, query="?sleep=0.5"),
        Tcp(tcp, pause=short),
        Tcp(tcp, parts=10, part_pause=part),
        Http2(http2, "/", len(SMALL), pause=4 * short),
        Http2(http2, "/large", LARGE, connections=1, pause=10 * short),
        Grpc(grpc, pause=short),
        Grpc(grpc, parts=10, part_pause=part),
    ]


def tell(loads: list[Traffic]) -> None:
    """Say how all has gone so far."""
    tallies = [
        Tally(name=one.name, answered=one.answered, refused=one.refused, lost=one.lost)
        for one in loads
    ]
    sys.stdout.buffer.write(msgspec.json.encode(tallies) + b"\n")
    sys.stdout.buffer.flush()


async def main(service: str, ports: list[int], long: float, pace: float) -> None:
    loads = traffic(service, ports, long, pace)
    async with load.running(*loads):
        while True:
            await anyio.wait_readable(sys.stdin)
            if not os.read(sys.stdin.fileno(), 65536):
                break
            tell(loads)
    tell(loads)


if __name__ == "__main__":
    # Names are in the hosts file; the other resolver would wait for name servers.
    os.environ["GRPC_DNS_RESOLVER"] = "native"
    _, name, *numbers, long, pace = sys.argv
    anyio.run(main, name, list(map(int, numbers)), float(long), float(pace))
