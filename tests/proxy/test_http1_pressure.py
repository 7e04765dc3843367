"""Back-pressure and bounds: whoever reads slowly slows down whoever writes, and nothing piles up here."""

import anyio
import pytest

from proxy.codec.body import ChunkedBody
from proxy.session.exchange import PENDING_LIMIT
from proxy.session.http1_server import READ_AHEAD
from tests.support.clock import cpu_seconds
from tests.support.conversation import GET, OK, conversation, settled
from tests.support.streams import HIGH

pytestmark = pytest.mark.anyio

PIECE = b"x" * 10_000
UPLOAD = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000000\r\n\r\n"
DOWNLOAD = b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n"


async def test_a_client_that_reads_slowly_slows_the_endpoint_down() -> None:
    async with conversation() as talk:
        await talk.hears(GET)
        talk.client.stops_reading()
        await talk.answers(DOWNLOAD, *[PIECE] * 100)
        assert talk.endpoint.paused
        assert talk.client.get_write_buffer_size() <= HIGH + len(PIECE) + 100
        waiting = talk.endpoint.waiting

        talk.client.reads_again()
        await settled()
        assert waiting > 0
        assert talk.endpoint.waiting == 0
        assert not talk.endpoint.paused
        assert talk.says() == DOWNLOAD + PIECE * 100


async def test_an_endpoint_that_reads_slowly_slows_the_client_down() -> None:
    async with conversation() as talk:
        await talk.hears(UPLOAD)
        talk.endpoint.stops_reading()
        await talk.hears(*[PIECE] * 100)
        assert talk.client.paused
        assert talk.endpoint.get_write_buffer_size() <= HIGH + len(PIECE)

        talk.endpoint.reads_again()
        await settled()
        assert not talk.client.paused
        assert talk.passes_on().endswith(PIECE * 100)


async def test_an_upload_waits_in_the_socket_while_the_endpoint_is_connected_to() -> None:
    async with conversation() as talk:
        talk.slow_to_connect = anyio.Event()
        await talk.hears(UPLOAD, *[PIECE] * 100)
        assert talk.client.paused
        assert talk.exchanges[0].pending_size < PENDING_LIMIT + len(PIECE)

        talk.slow_to_connect.set()
        await settled()
        assert not talk.client.paused
        assert talk.passes_on().endswith(PIECE * 100)


async def test_what_waited_for_the_endpoint_does_not_flood_it() -> None:
    async with conversation() as talk:
        talk.slow_to_connect = anyio.Event()
        talk.endpoint_reads = False
        await talk.hears(UPLOAD, *[PIECE] * 100)
        talk.slow_to_connect.set()
        await settled()

        assert talk.client.paused
        assert talk.endpoint.get_write_buffer_size() < PENDING_LIMIT + 3 * len(PIECE)
        talk.endpoint.reads_again()
        await settled()
        assert talk.passes_on().endswith(PIECE * 100)


async def test_pipelined_requests_wait_in_the_socket() -> None:
    async with conversation() as talk:
        await talk.hears(GET, *[GET * 100] * 100)

        assert talk.client.paused
        assert talk.client.waiting > 0
        assert 100 * len(GET) * 100 - talk.client.waiting <= READ_AHEAD + 100 * len(GET)
        assert len(talk.exchanges) == 1


async def test_one_who_pipelines_and_never_reads_is_given_nothing_more() -> None:
    async with conversation() as talk:
        talk.client.stops_reading()
        talk.unauthorized = True
        await talk.hears(*[GET] * 20_000)
        await settled()
        answered = len(talk.exchanges)
        assert talk.client.get_write_buffer_size() < 2 * HIGH
        assert talk.client.waiting > 0

        talk.client.reads_again()
        await settled()
        assert len(talk.exchanges) > answered


async def test_one_who_does_not_read_the_first_answer_cannot_have_the_second_pile_up() -> None:
    first = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (2 * HIGH)
    async with conversation() as talk:
        talk.client.stops_reading()
        await talk.hears(GET + GET)
        await talk.answers(first + b"x" * 2 * HIGH)
        await talk.answers()
        assert len(talk.exchanges) == 1

        talk.client.reads_again()
        await settled()
        assert len(talk.exchanges) == 2
        await talk.answers(OK)
        assert talk.says().endswith(OK)


async def test_an_endpoint_that_has_not_read_its_last_request_gets_no_other() -> None:
    async with conversation() as talk:
        await talk.hears(b"PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n")
        talk.endpoint.stops_reading()
        await talk.hears(b"x" * 100_000)
        await talk.answers(OK)
        assert talk.says() == OK

        assert talk.carrier.idle == 0
        assert talk.endpoint.closed


@pytest.mark.parametrize("step", [1, 7])
async def test_a_head_that_trickles_in_costs_no_more_than_its_packets(step: int) -> None:
    head = b"GET / HTTP/1.1\r\nhost: a\r\n" + b"x: " + b"y" * 60_000
    async with conversation() as talk:
        with cpu_seconds() as spent:
            for at in range(0, len(head), step):
                talk.client.hears(head[at : at + step])

        assert spent() < 3.0
        await talk.hears(b"\r\n\r\n")
        assert len(talk.exchanges) == 1


async def test_trailers_that_trickle_in_cost_no_more_than_their_packets() -> None:
    body = ChunkedBody()
    buffer = b"0\r\nx: "
    with cpu_seconds() as spent:
        for _ in range(60_000):
            _, buffer, ended = body.feed(buffer + b"y")
            assert not ended

    assert spent() < 3.0


async def test_a_body_in_chunks_of_one_byte_is_put_together_and_costs_little() -> None:
    chunks = b"1\r\nx\r\n" * 10_000
    async with conversation() as talk:
        await talk.hears(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
        talk.passes_on()
        with cpu_seconds() as spent:
            for _ in range(10):
                await talk.hears(chunks)
                assert talk.passes_on() == b"2710\r\n" + b"x" * 10_000 + b"\r\n"

        assert spent() < 3.0


async def test_a_response_that_comes_byte_by_byte_costs_no_more_than_its_packets() -> None:
    async with conversation() as talk:
        await talk.hears(GET)
        await talk.answers(DOWNLOAD)
        with cpu_seconds() as spent:
            for _ in range(100_000):
                talk.endpoint.hears(b"x")

        assert spent() < 3.0
        assert len(talk.says()) == len(DOWNLOAD) + 100_000
