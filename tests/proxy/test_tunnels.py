"""Connections that change their protocol (101) or are given away (CONNECT): bytes both ways from there on."""

import pytest

from tests.support.conversation import GET, OK, Conversation, conversation, settled
from tests.support.streams import HIGH

pytestmark = pytest.mark.anyio

ASK = (
    b"GET /chat HTTP/1.1\r\nhost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"sec-websocket-key: x\r\n\r\n"
)
PASSED = (
    b"GET /chat HTTP/1.1\r\nhost: a\r\nsec-websocket-key: x\r\n"
    b"connection: upgrade\r\nupgrade: websocket\r\n\r\n"
)
AGREE = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"


async def upgraded(talk: Conversation) -> None:
    await talk.hears(ASK)
    assert talk.passes_on() == PASSED
    await talk.answers(AGREE)
    assert talk.says() == AGREE


async def test_after_an_upgrade_bytes_go_both_ways_as_they_are() -> None:
    async with conversation() as talk:
        await upgraded(talk)
        await talk.hears(b"\x81\x02hi", b"\r\n\r\nGET / HTTP/1.1")
        await talk.answers(b"\x00\xff")
        assert talk.passes_on() == b"\x81\x02hi\r\n\r\nGET / HTTP/1.1"
        assert talk.says() == b"\x00\xff"

        talk.client.hears_end()
        talk.endpoint.hears_end()
        await settled()
        assert talk.client.lost
        assert talk.endpoint.lost
        assert talk.sessions_closed == talk.tunnels_closed == 1
        [exchange] = talk.ended
        assert (exchange.status, exchange.bytes_in, exchange.bytes_out) == (101, 22, 2)


async def test_what_was_sent_early_goes_into_the_tunnel() -> None:
    async with conversation() as talk:
        await talk.hears(ASK + b"early")
        assert talk.passes_on() == PASSED
        await talk.answers(AGREE + b"soon")

        assert talk.passes_on() == b"early"
        assert talk.says() == AGREE + b"soon"


async def test_an_end_that_came_early_is_passed_on() -> None:
    async with conversation() as talk:
        talk.client.hears(ASK + b"early")
        talk.client.hears_end()
        await settled()
        await talk.answers(AGREE)

        assert talk.passes_on() == PASSED + b"early"
        assert talk.endpoint.ended
        await talk.answers(b"late")
        assert talk.says() == AGREE + b"late"


async def test_an_upgrade_that_is_declined_is_a_request_like_others() -> None:
    async with conversation() as talk:
        await talk.hears(ASK)
        await talk.answers(OK)
        assert talk.says() == OK

        await talk.hears(GET)
        assert talk.passes_on().endswith(GET)


async def test_each_side_of_a_tunnel_may_end_before_the_other() -> None:
    async with conversation() as talk:
        await upgraded(talk)
        talk.client.hears_end()
        await settled()
        assert talk.endpoint.ended
        assert not talk.endpoint.closed

        await talk.answers(b"still here")
        assert talk.says() == b"still here"
        talk.endpoint.hears_end()
        await settled()
        assert talk.client.lost


@pytest.mark.parametrize("who", ["client", "endpoint"])
async def test_a_tunnel_that_breaks_on_one_side_breaks_on_the_other(who: str) -> None:
    async with conversation() as talk:
        await upgraded(talk)
        broken, other = talk.client, talk.endpoint
        if who == "endpoint":
            broken, other = other, broken
        broken.breaks()
        await settled()

        assert other.broken
        assert len(talk.ended) == 1


@pytest.mark.parametrize("who", ["client", "endpoint"])
async def test_a_slow_reader_at_one_end_of_a_tunnel_slows_the_other_down(who: str) -> None:
    async with conversation() as talk:
        await upgraded(talk)
        slow, fast = talk.client, talk.endpoint
        if who == "endpoint":
            slow, fast = fast, slow
        slow.stops_reading()
        fast.hears(*[b"x" * 10_000] * 100)
        await settled()
        assert fast.paused
        assert slow.get_write_buffer_size() < HIGH + 20_000

        slow.reads_again()
        await settled()
        assert slow.says() == b"x" * 1_000_000


async def test_a_tunnel_knows_that_its_client_had_stopped_reading() -> None:
    # Interim answers have filled the client's side before the tunnel begins.
    hint = b"HTTP/1.1 103 Early Hints\r\nx: " + b"y" * 20_000 + b"\r\n\r\n"
    async with conversation() as talk:
        await talk.hears(ASK)
        talk.client.stops_reading()
        talk.endpoint.hears(hint * 4 + AGREE)
        await settled()
        await talk.answers(*[b"x" * 10_000] * 50)

        assert talk.endpoint.paused
        assert talk.client.get_write_buffer_size() < HIGH + 4 * 20_000
        talk.client.reads_again()
        await settled()
        assert talk.says().endswith(AGREE + b"x" * 500_000)


async def test_an_upgrade_before_the_request_is_complete_is_refused() -> None:
    # The rest of its body would be taken for the other protocol.
    async with conversation() as talk:
        await talk.hears(ASK.replace(b"\r\n\r\n", b"\r\ncontent-length: 5\r\n\r\nab"))
        await talk.answers(AGREE)

        assert b" 502 " in talk.says()
        assert talk.endpoint.broken


async def test_an_upgrade_to_h2c_is_not_asked_for() -> None:
    # Requests inside would be seen by nobody.
    async with conversation() as talk:
        await talk.hears(
            b"GET / HTTP/1.1\r\nhost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
            b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"
        )

        assert talk.passes_on() == GET


async def test_connect_is_a_tunnel_when_the_endpoint_agrees() -> None:
    async with conversation() as talk:
        await talk.hears(b"CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n\x16\x03")
        assert talk.passes_on() == b"CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n"
        await talk.answers(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n\x16")

        assert talk.passes_on() == b"\x16\x03"
        assert talk.says() == b"HTTP/1.1 200 OK\r\n\r\n\x16"


async def test_a_tunnel_is_not_looked_at_for_its_deadline() -> None:
    async with conversation() as talk:
        await upgraded(talk)
        await talk.expire(10_000)

        assert not talk.client.closed
        assert not talk.endpoint.closed
