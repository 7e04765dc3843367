"""docs/http2.md says what the code does: its limits, and every kind of abuse that is tried."""

from pathlib import Path

import pytest

from proxy.codec.frames import DEFAULT_WINDOW, FRAME_LIMIT
from proxy.codec.header_blocks import LIST_LIMIT, TABLE_SIZE
from proxy.inbound.arrivals import RECEIVE_BUFFER
from proxy.session import http2_client, http2_connection, http2_output, patience
from proxy.session.backlog import TOTAL_LIMIT
from tests.support.http2_abuse import against_client, against_server
from tests.support.http2_world import GET, OK

PAGE = (Path(__file__).parents[3] / "docs" / "http2.md").read_text().replace("\n", " ")
SAID = {
    "have open": f"{http2_connection.STREAMS_LIMIT} (announced)",
    "of ours": f"{http2_client.MOST_STREAMS} at most",
    "frame": f"{FRAME_LIMIT:,} bytes",
    "list": f"{LIST_LIMIT:,} bytes as",
    "table": f"{TABLE_SIZE:,} bytes",
    "block": f"{http2_connection.BLOCK_LIMIT:,} bytes, {http2_connection.BLOCK_FRAMES} frames, "
    f"{http2_connection.BLOCK_SECONDS:.0f} s",
    "stream window": f"a stream's window | {DEFAULT_WINDOW:,} bytes",
    "connection window": f"a connection's window | {http2_connection.CONNECTION_WINDOW:,} bytes",
    "burst": f"{http2_output.BURST:,} before",
    "mutter": f"{http2_output.MUTTER_LIMIT:,} bytes, then",
    "receive buffer": f"at once | {RECEIVE_BUFFER:,}",
    "backlog": f"{TOTAL_LIMIT:,}; see",
    "stall": f"{http2_connection.STALL_SECONDS:.0f} s: `CANCEL`",
    "ping": f"PING after {http2_connection.PING_SECONDS:.0f} s and left {http2_connection.PONG_SECONDS:.0f} s",
    "idle": f"nobody uses | {http2_client.IDLE_SECONDS:.0f} s",
    "chores": f"{patience.CHORES_AT_ONCE:,} frames of it may come at once, then "
    f"{patience.CHORES_PER_SECOND:,} a second and {patience.CHORES_PER_STREAM} for",
    "resets": f"{patience.RESETS_AT_ONCE:,} at once, then {patience.RESETS_PER_SECOND} a second",
}


@pytest.mark.parametrize("what", SAID)
def test_the_page_tells_the_limits_that_are_in_force(what: str) -> None:
    assert SAID[what] in PAGE


@pytest.mark.parametrize("what", [*against_server(GET), *against_client(OK)])
def test_the_page_knows_every_abuse_that_is_tried(what: str) -> None:
    assert what in PAGE
