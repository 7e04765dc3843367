"""What hostile HTTP/2 peers send, over and over: against sessions in memory and against whole proxies.

A table for each side: what is sent before, what is repeated, and how the session that hears it ends the
connection. `blocks` are what a request, or a response, consists of where the attack takes place.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    SettingsFrame,
)

from proxy.codec.header_blocks import write_block
from proxy.codec.heads import Headers
from tests.support.http2_world import data, headers, reset, settings, window

CALM = "ENHANCE_YOUR_CALM"
LONG: Headers = [(b"x-long", b"v" * 4000)]
PING = PingFrame(0, b"12345678").serialize()
PONG = PingFrame(0, b"12345678", flags=["ACK"]).serialize()
SETTINGS_ACK = SettingsFrame(0, flags=["ACK"]).serialize()
UNKNOWN = b"\0\0\4\x77\0\0\0\0\1what"
OVERFLOW = 2**31 - 1


Costs = Callable[[int], AbstractContextManager[None]]
"""`with costs(most)`: what happens in it never needs more than so many bytes at a time."""


class Attack(NamedTuple):
    """What a peer sends: `before` once, then `again(n)` with n = 0, 1, 2 and so on."""

    again: Callable[[int], bytes]
    answer: str
    """How the GOAWAY ends that answers it."""
    before: bytes = b""
    rounds: int = 0
    """How often it takes; 0: until patience ends."""


def same(frame: bytes) -> Callable[[int], bytes]:
    """The same bytes every time."""
    return lambda number: frame


def anybody(first: bytes) -> dict[str, Attack]:
    """What either side can do; `first` begins stream 1 and leaves it open."""
    calm = f"{CALM} busywork"
    return {
        "PING": Attack(same(PING), calm),
        "PING ack": Attack(same(PONG), calm),
        "SETTINGS": Attack(same(settings()), calm),
        "SETTINGS with values": Attack(
            same(settings(INITIAL_WINDOW_SIZE=5, MAX_FRAME_SIZE=20_000)), calm
        ),
        "SETTINGS ack": Attack(same(SETTINGS_ACK), calm),
        "PRIORITY": Attack(same(PriorityFrame(7, depends_on=5).serialize()), calm),
        "unknown frames": Attack(same(UNKNOWN), calm),
        "empty DATA": Attack(same(data(1, b"")), calm, first),
        "DATA that is all padding": Attack(same(data(1, b"", padding=1)), calm, first),
        "small WINDOW_UPDATE of the connection": Attack(same(window(0, 1)), calm),
        "small WINDOW_UPDATE of a stream": Attack(same(window(1, 1)), calm, first),
        "WINDOW_UPDATE of a closed stream": Attack(same(window(1, 9)), calm, first + reset(1)),
        "RST_STREAM of a closed stream": Attack(same(reset(1)), calm, first + reset(1)),
        "GOAWAY": Attack(same(GoAwayFrame(0, 2**31 - 1).serialize()), calm, first),
        "CONTINUATION": Attack(
            same(ContinuationFrame(1, b"x" * 10).serialize()),
            f"{CALM} header-block-size",
            HeadersFrame(1, b"x").serialize(),
            rounds=16,
        ),
        "empty CONTINUATION": Attack(
            same(ContinuationFrame(1, b"").serialize()),
            f"{CALM} header-block-size",
            HeadersFrame(1, b"").serialize(),
            rounds=16,
        ),
        "large CONTINUATION": Attack(
            same(ContinuationFrame(1, bytes(16_384)).serialize()),
            f"{CALM} header-block-size",
            HeadersFrame(1, bytes(16_384)).serialize(),
            rounds=8,
        ),
        "a window that overflows": Attack(
            same(window(0, OVERFLOW)), "FLOW_CONTROL_ERROR window-overflow", rounds=1
        ),
        "settings that make windows overflow": Attack(
            same(window(1, OVERFLOW - 65_535) + settings(INITIAL_WINDOW_SIZE=OVERFLOW)),
            "FLOW_CONTROL_ERROR window-overflow",
            first,
            rounds=1,
        ),
        "a frame that is too large": Attack(
            same(b"\x00\x40\x01\0\0\0\0\0\1" + bytes(16_385)),
            "FRAME_SIZE_ERROR frame-size",
            rounds=1,
        ),
    }


def bomb(fields: Headers) -> Attack:
    """A long field, and thousands of bytes that each stand for it (CVE-2016-6581)."""
    planted = Encoder().encode([*fields, *LONG])
    return Attack(
        same(headers(3, b"\xbe" * 16_000, end=True)),
        f"{CALM} header-list-size",
        headers(1, planted, end=False),
        rounds=1,
    )


def against_server(ask: Headers) -> dict[str, Attack]:
    """What a client can do; `ask` is a request that is served."""
    block = write_block(ask)
    first = headers(1, block, end=False)

    def each(frames: Callable[[int], bytes], *, end: bool = True) -> Callable[[int], bytes]:
        return lambda n: headers(2 * n + 1, block, end=end) + frames(2 * n + 1)

    resets = f"{CALM} resets"
    return {
        **anybody(first),
        "a bomb of indices": bomb(ask),
        "DATA on a stream that was reset": Attack(
            same(data(1, b"")), f"{CALM} busywork", first + window(1, 0)
        ),
        "trailers of a stream that was reset": Attack(
            same(headers(1, b"", end=True)), f"{CALM} busywork", first + window(1, 0)
        ),
        "rapid reset": Attack(each(reset), resets),
        "an empty window update": Attack(each(lambda stream: window(stream, 0)), resets),
        "a stream's window that overflows": Attack(
            each(lambda stream: window(stream, OVERFLOW)), resets
        ),
        "headers after the end": Attack(
            each(lambda stream: headers(stream, block, end=True)), resets
        ),
        "data after the end": Attack(each(lambda stream: data(stream, b"more")), resets),
        "a priority of the wrong size": Attack(
            each(lambda stream: b"\0\0\4\2\0" + stream.to_bytes(4, "big") + b"abcd"), resets
        ),
        "a priority on itself": Attack(
            each(lambda stream: PriorityFrame(stream, depends_on=stream).serialize()), resets
        ),
        "malformed requests": Attack(
            lambda n: headers(2 * n + 1, write_block([(b"x", b"y")]), end=True), resets
        ),
    }


def against_client(response: Headers) -> dict[str, Attack]:
    """What an endpoint can do to who has sent it a request; `response` is the head of an answer."""
    block = write_block(response)
    first = headers(1, block, end=False)
    return {
        **anybody(first),
        "a bomb of indices": bomb(response),
        "interim responses": Attack(
            same(headers(1, write_block([(b":status", b"103")]), end=False)), f"{CALM} busywork"
        ),
        "DATA on a stream that was reset": Attack(
            same(data(1, b"")), f"{CALM} busywork", first + window(1, 0)
        ),
        "a push": Attack(
            same(PushPromiseFrame(1, 2, data=block, flags=["END_HEADERS"]).serialize()),
            "PROTOCOL_ERROR push-promise",
            rounds=1,
        ),
        "a response that nobody asked for": Attack(
            same(headers(2**31 - 1, block, end=True)), "PROTOCOL_ERROR idle-stream", rounds=1
        ),
    }
