"""What goes wrong between a client, the proxy and an endpoint, and what the other side sees of it."""

from http import HTTPStatus

import anyio
import pytest

from tests.support.conversation import GET, OK, Conversation, conversation, settled

pytestmark = pytest.mark.anyio

UPLOAD = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhello"


def refused(status: int, why: bytes, *, close: bool = False) -> bytes:
    start = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()
    last = b"connection: close\r\n" if close else b""
    return start + b"content-length: 0\r\ntulle-error: %b\r\n%b\r\n" % (why, last)


async def test_an_endpoint_that_cannot_be_reached_is_a_502_and_the_connection_goes_on() -> None:
    async with conversation() as talk:
        talk.unreachable = True
        await talk.hears(GET)
        assert talk.says() == refused(502, b"connect-failed")

        talk.unreachable = False
        await talk.hears(GET)
        await talk.answers(OK)
        assert talk.says() == OK


async def test_a_request_that_is_taken_back_at_once_costs_no_connection_to_an_endpoint() -> None:
    """As a reset does that follows its request in one packet (CVE-2023-44487)."""
    async with conversation() as talk:
        talk.client.hears(GET)
        talk.exchanges[0].request_lost()
        await settled()

        assert len(talk.ended) == 1
        assert talk.endpoints == []


async def test_a_refusal_is_an_answer_like_others_and_the_connection_goes_on() -> None:
    async with conversation() as talk:
        talk.unauthorized = True
        await talk.hears(GET + GET)
        assert talk.says() == refused(403, b"unauthorized") * 2
        assert talk.endpoints == []

        await talk.hears(UPLOAD)
        assert talk.says() == refused(403, b"unauthorized", close=True)


async def test_an_endpoint_that_resets_before_its_answer_is_a_502() -> None:
    async with conversation() as talk:
        await talk.hears(GET)
        talk.endpoint.breaks()
        await settled()

        assert talk.says() == refused(502, b"response-lost")
        assert len(talk.endpoints) == 1


async def test_an_endpoint_that_closes_before_its_answer_is_a_502() -> None:
    async with conversation() as talk:
        await talk.hears(GET)
        talk.endpoint.hears_end()
        await settled()

        assert talk.says() == refused(502, b"response-lost")


@pytest.mark.parametrize("end", ["reset", "close"])
@pytest.mark.parametrize(
    "begun",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ],
)
async def test_a_response_that_breaks_off_is_broken_off(begun: bytes, end: str) -> None:
    async with conversation() as talk:
        await talk.hears(GET)
        await talk.answers(begun)
        talk.endpoint.breaks() if end == "reset" else talk.endpoint.hears_end()
        await settled()

        assert talk.says() == begun
        assert talk.client.broken
        assert talk.ended[0].error is not None
        assert talk.ended[0].error.reason == "response-lost"


async def test_a_body_without_framing_is_whole_only_if_its_connection_ended_well() -> None:
    async with conversation() as talk:
        await talk.hears(b"GET / HTTP/1.0\r\n\r\n")
        await talk.answers(b"HTTP/1.0 200 OK\r\n\r\nhalf")
        talk.endpoint.breaks()
        await settled()

        assert talk.says().endswith(b"half")
        # A close would say: that was all.
        assert talk.client.broken


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 200 OK\ncontent-length: 0\n\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000,
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    ],
)
async def test_an_answer_that_is_not_http_is_a_502(garbage: bytes) -> None:
    async with conversation() as talk:
        await talk.hears(GET)
        await talk.answers(garbage)

        assert talk.says() == refused(502, b"bad-response")
        assert talk.endpoint.broken


async def test_a_chunk_that_is_not_one_breaks_the_response_off() -> None:
    async with conversation() as talk:
        await talk.hears(GET)
        await talk.answers(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"xyz\r\n")

        assert talk.client.broken
        assert talk.endpoint.broken


async def test_a_client_that_leaves_takes_its_request_along() -> None:
    async with conversation() as talk:
        await talk.hears(UPLOAD)
        talk.client.breaks()
        await settled()

        assert talk.endpoint.broken
        assert talk.ended[0].error is not None
        assert talk.ended[0].error.reason == "client-gone"
        assert talk.sessions_closed == 1


async def test_a_client_that_ends_amid_its_request_is_gone() -> None:
    async with conversation() as talk:
        await talk.hears(UPLOAD)
        talk.client.hears_end()
        await settled()

        assert talk.client.lost
        assert talk.endpoint.broken


async def test_a_client_that_leaves_while_the_endpoint_is_connected_to() -> None:
    async with conversation() as talk:
        talk.slow_to_connect = anyio.Event()
        await talk.hears(UPLOAD)
        talk.client.breaks()
        await settled()
        assert len(talk.ended) == 1
        talk.slow_to_connect.set()
        await settled()

        assert talk.passes_on() == b""
        assert talk.carrier.idle == 1


async def warm(talk: Conversation) -> None:
    """Leave one connection to the endpoint idle."""
    await talk.hears(GET)
    await talk.answers(OK)
    talk.says(), talk.passes_on()


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"DELETE", b"HEAD", b"OPTIONS"])
async def test_a_request_that_met_a_stale_connection_is_repeated_on_a_new_one(
    method: bytes,
) -> None:
    request = b"%b / HTTP/1.1\r\nhost: a\r\n\r\n" % method
    async with conversation() as talk:
        await warm(talk)
        await talk.hears(request)
        talk.endpoint.hears_end()
        await settled()
        assert len(talk.endpoints) == 2
        assert talk.passes_on() == request
        await talk.answers(b"HTTP/1.1 204 No Content\r\n\r\n")

        assert talk.says() == b"HTTP/1.1 204 No Content\r\n\r\n"
        assert len(talk.ended) == 2


async def test_it_is_repeated_once_only() -> None:
    async with conversation() as talk:
        await warm(talk)
        await talk.hears(GET)
        talk.endpoint.breaks()
        await settled()
        talk.endpoint.breaks()
        await settled()

        assert len(talk.endpoints) == 2
        assert talk.says() == refused(502, b"response-lost")


@pytest.mark.parametrize(
    ("request_", "closes"),
    [
        (b"POST / HTTP/1.1\r\nhost: a\r\n\r\n", False),
        (b"PATCH / HTTP/1.1\r\nhost: a\r\n\r\n", False),
        (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi", False),
        (b"PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 20000\r\n\r\n" + b"x" * 20000, False),
        (b"PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 20001\r\n\r\n" + b"x" * 20000, True),
    ],
)
async def test_what_may_have_had_an_effect_or_has_a_long_body_is_not_repeated(
    request_: bytes, closes: bool
) -> None:
    async with conversation() as talk:
        await warm(talk)
        await talk.hears(request_)
        talk.endpoint.breaks()
        await settled()

        assert len(talk.endpoints) == 1
        assert talk.says() == refused(502, b"response-lost", close=closes)


@pytest.mark.parametrize("cut", [1, 4, 5])
async def test_a_short_body_is_repeated_with_its_request(cut: int) -> None:
    head = b"PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n"
    async with conversation() as talk:
        await warm(talk)
        await talk.hears(head, b"h", b"ello"[: cut - 1])
        talk.endpoint.breaks()
        await settled()
        await talk.hears(b"hello"[cut:])

        assert len(talk.endpoints) == 2
        assert talk.passes_on() == head + b"hello"
        await talk.answers(OK)
        assert talk.says() == OK


async def test_a_request_is_not_repeated_once_its_answer_began() -> None:
    async with conversation() as talk:
        await warm(talk)
        await talk.hears(GET)
        await talk.answers(OK[:-1])
        talk.endpoint.breaks()
        await settled()

        assert len(talk.endpoints) == 1
        assert talk.client.broken


async def test_an_answer_amid_an_upload_is_read_before_the_connection_closes() -> None:
    answer = b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n"
    async with conversation() as talk:
        await talk.hears(UPLOAD)
        await talk.answers(answer + b"\r\n")
        assert talk.says() == answer + b"connection: close\r\n\r\n"
        # Half-closed: a close with unread input would be a reset that takes the answer along.
        assert talk.client.ended
        assert not talk.client.closed
        assert talk.endpoint.closed

        await talk.hears(b"world" + GET)
        assert len(talk.exchanges) == 1
        await talk.expire(3)
        assert talk.client.closed


async def test_an_answer_amid_an_upload_lets_a_client_that_ends_go_at_once() -> None:
    async with conversation() as talk:
        await talk.hears(UPLOAD)
        await talk.answers(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
        talk.client.hears_end()
        await settled()

        assert talk.client.lost


async def test_an_endpoint_may_answer_while_it_is_still_sent_to() -> None:
    async with conversation() as talk:
        await talk.hears(UPLOAD)
        await talk.answers(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nHELLO")
        await talk.hears(b"world")
        assert talk.passes_on().endswith(b"helloworld")
        await talk.answers(b"WORLD")
        assert talk.says().endswith(b"HELLOWORLD")

        await talk.hears(GET)
        assert talk.passes_on() == GET


async def test_a_drain_while_input_is_read_away_does_not_cut_the_answer_off() -> None:
    async with conversation() as talk:
        await talk.hears(UPLOAD)
        await talk.answers(OK)
        talk.server.drain()
        await settled()

        assert not talk.client.closed


async def test_a_warm_connection_that_breaks_is_forgotten() -> None:
    async with conversation() as talk:
        await warm(talk)
        assert talk.carrier.idle == 1
        talk.endpoint.breaks()
        await settled()

        assert talk.carrier.idle == 0


async def test_a_connection_that_broke_before_anybody_used_it_is_noticed() -> None:
    async with conversation() as talk:
        talk.born_dead = True
        await talk.hears(GET)
        await settled()

        assert talk.says() == refused(502, b"response-lost")


async def test_a_connection_that_nobody_waits_for_any_more_is_kept_only_if_it_lives() -> None:
    async with conversation() as talk:
        talk.born_dead = True
        talk.slow_to_connect = anyio.Event()
        await talk.hears(GET)
        talk.client.breaks()
        talk.slow_to_connect.set()
        await settled()
        await settled()

        assert talk.carrier.idle == 0
