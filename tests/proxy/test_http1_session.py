"""Requests and responses through both sessions of HTTP/1.1: framing, versions, connection semantics."""

import anyio
import pytest

from proxy.refusals import ShutDown
from tests.support.conversation import GET, OK, conversation, settled

pytestmark = pytest.mark.anyio

OK_10 = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\nok"
OK_LAST = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


async def test_one_connection_carries_many_requests_over_one_connection() -> None:
    async with conversation() as talk:
        for _ in range(3):
            await talk.hears(GET)
            assert talk.passes_on() == GET
            await talk.answers(OK)
            assert talk.says() == OK

        assert len(talk.endpoints) == 1
        assert not talk.client.closed
        assert [exchange.status for exchange in talk.ended] == [200, 200, 200]


async def test_fields_of_the_connection_stay_on_it() -> None:
    async with conversation() as talk:
        await talk.hears(
            b"GET /x?y HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n"
            b"Proxy-Connection: close\r\nX-End: 2\r\nTE: gzip, trailers\r\n\r\n"
        )
        assert (
            talk.passes_on() == b"GET /x?y HTTP/1.1\r\nhost: a\r\nx-end: 2\r\nte: trailers\r\n\r\n"
        )

        await talk.answers(
            b"HTTP/1.1 200 OK\r\nConnection: x-back\r\nX-Back: 1\r\nKeep-Alive: 5\r\nX-Far: 2\r\n"
            b"Upgrade: h2\r\ncontent-length: 0\r\n\r\n"
        )
        assert talk.says() == b"HTTP/1.1 200 OK\r\nx-far: 2\r\ncontent-length: 0\r\n\r\n"


async def test_what_a_client_nominates_cannot_take_out_what_frames_or_authenticates() -> None:
    async with conversation() as talk:
        await talk.hears(
            b"POST / HTTP/1.1\r\nhost: a\r\nconnection: content-length, host, authorization\r\n"
            b"authorization: b\r\ncontent-length: 2\r\n\r\nhi"
        )

        assert talk.passes_on() == (
            b"POST / HTTP/1.1\r\nhost: a\r\nauthorization: b\r\ncontent-length: 2\r\n\r\nhi"
        )


async def test_an_absolute_target_goes_on_as_it_came_with_its_own_host() -> None:
    async with conversation() as talk:
        await talk.hears(b"GET http://books:80/x?y HTTP/1.1\r\nhost: a\r\n\r\n")

        assert talk.passes_on() == b"GET http://books:80/x?y HTTP/1.1\r\nhost: books:80\r\n\r\n"


async def test_empty_lines_before_a_request_are_ignored_however_they_come() -> None:
    async with conversation() as talk:
        for piece in (b"\r\n", b"\r\n\r\n\r", b"\n" + GET):
            await talk.hears(piece)
        assert talk.passes_on() == GET

        await talk.answers(OK)
        assert talk.says() == OK


async def test_bodies_go_both_ways_by_length() -> None:
    async with conversation() as talk:
        await talk.hears(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhe", b"llo")
        assert talk.passes_on().endswith(b"content-length: 5\r\n\r\nhello")

        await talk.answers(b"HTTP/1.1 201 Created\r\ncontent-length: 4\r\n\r\nab", b"cd")
        assert talk.says() == b"HTTP/1.1 201 Created\r\ncontent-length: 4\r\n\r\nabcd"
        assert (talk.ended[0].bytes_in, talk.ended[0].bytes_out) == (5, 4)


async def test_bodies_go_both_ways_in_chunks_with_trailers() -> None:
    async with conversation() as talk:
        await talk.hears(
            b"POST / HTTP/1.1\r\nhost: a\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        await talk.hears(b"5;ext=1\r\nhel", b"lo\r\n0\r\nX-Sum: 7\r\n\r\n")
        assert talk.passes_on() == (
            b"POST / HTTP/1.1\r\nhost: a\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n"
            b"3\r\nhel\r\n2\r\nlo\r\n0\r\nx-sum: 7\r\n\r\n"
        )

        await talk.answers(CHUNKED + b"3\r\nabc\r\n", b"1\r\nd\r\n0\r\nx-end: 1\r\n\r\n")
        assert talk.says() == CHUNKED + b"3\r\nabc\r\n1\r\nd\r\n0\r\nx-end: 1\r\n\r\n"
        await talk.hears(GET)
        assert talk.passes_on() == GET


async def test_a_response_whose_trailers_come_with_its_head_keeps_them() -> None:
    async with conversation() as talk:
        await talk.hears(GET)
        await talk.answers(CHUNKED + b"1\r\na\r\n0\r\nx: y\r\n\r\n")

        assert talk.says() == CHUNKED + b"1\r\na\r\n0\r\nx: y\r\n\r\n"
        assert len(talk.ended) == 1


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_a_response_without_a_body_ends_with_its_head(status: bytes) -> None:
    async with conversation() as talk:
        await talk.hears(GET)
        await talk.answers(b"HTTP/1.1 %b\r\netag: x\r\n\r\n" % status)
        assert talk.says() == b"HTTP/1.1 %b\r\netag: x\r\n\r\n" % status

        await talk.hears(GET)
        assert talk.passes_on().count(GET) == 2
        assert len(talk.endpoints) == 1


async def test_the_answer_to_head_has_a_length_and_no_body() -> None:
    async with conversation() as talk:
        await talk.hears(b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n")
        await talk.answers(b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n")
        assert talk.says() == b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n"

        await talk.hears(GET)
        await talk.answers(OK)
        assert talk.says() == OK


async def test_a_body_that_does_not_belong_to_the_answer_never_reaches_the_client() -> None:
    async with conversation() as talk:
        await talk.hears(b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n")
        await talk.answers(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nHTTP/1.1 500 No\r\n\r\n")

        assert talk.says() == b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
        assert talk.endpoint.closed


async def test_what_an_endpoint_says_unasked_is_no_answer_to_the_next_request() -> None:
    async with conversation() as talk:
        await talk.hears(GET)
        await talk.answers(OK)
        await talk.answers(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison")
        assert talk.endpoint.broken
        assert talk.says() == OK

        await talk.hears(GET)
        assert len(talk.endpoints) == 2
        await talk.answers(OK)
        assert talk.says() == OK


async def test_a_body_that_ends_with_its_connection_is_chunked_on() -> None:
    async with conversation() as talk:
        await talk.hears(GET)
        await talk.answers(b"HTTP/1.0 200 OK\r\n\r\nab", b"c")
        talk.endpoint.hears_end()
        await talk.hears(GET)

        assert talk.says() == CHUNKED + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
        assert len(talk.endpoints) == 2
        assert talk.passes_on() == GET


async def test_a_client_of_1_0_is_answered_and_left() -> None:
    async with conversation() as talk:
        await talk.hears(b"GET / HTTP/1.0\r\n\r\n")
        assert talk.passes_on() == b"GET / HTTP/1.1\r\nhost: \r\n\r\n"

        await talk.answers(OK)
        assert talk.says() == OK_LAST
        assert talk.client.ended


async def test_a_client_of_1_0_may_ask_to_stay() -> None:
    async with conversation() as talk:
        for _ in range(2):
            await talk.hears(b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
            await talk.answers(OK)
            assert talk.says() == OK_10
        assert not talk.client.closed


async def test_a_client_of_1_0_knows_no_chunks_and_no_interim_answers() -> None:
    async with conversation() as talk:
        await talk.hears(b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
        await talk.answers(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n")
        await talk.answers(CHUNKED + b"3\r\nabc\r\n", b"0\r\nx: y\r\n\r\n")

        assert talk.says() == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nabc"
        assert talk.client.ended


async def test_connection_close_is_obeyed_and_told() -> None:
    async with conversation() as talk:
        await talk.hears(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n" + GET)
        assert talk.passes_on() == GET
        await talk.answers(OK)

        assert talk.says() == OK_LAST
        # Half-closed: a close with unread input would be a reset that takes the answer along.
        assert talk.client.ended
        assert not talk.client.closed
        assert len(talk.exchanges) == 1
        await talk.expire(3)
        assert talk.client.lost


async def test_an_endpoint_that_closes_costs_the_client_nothing() -> None:
    async with conversation() as talk:
        await talk.hears(GET)
        await talk.answers(OK_LAST)
        assert talk.says() == OK
        assert talk.endpoint.closed

        await talk.hears(GET)
        await talk.answers(OK)
        assert talk.says() == OK


async def test_100_continue_is_relayed_when_the_endpoint_says_it() -> None:
    async with conversation() as talk:
        await talk.hears(
            b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
        )
        assert b"expect: 100-continue\r\n" in talk.passes_on()
        assert talk.says() == b""

        await talk.answers(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert talk.says() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await talk.hears(b"hi")
        assert talk.passes_on() == b"hi"
        await talk.answers(OK)
        assert talk.says() == OK
        assert not talk.client.closed


@pytest.mark.parametrize("whole", [True, False])
async def test_a_final_answer_without_100_closes_the_connection(whole: bool) -> None:
    # Nobody knows whether the client will send its body still, so its next request cannot be told.
    async with conversation() as talk:
        await talk.hears(
            b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
        )
        await talk.answers(*((OK,) if whole else (OK[:-2], b"ok")))
        assert talk.says() == OK_LAST
        assert talk.client.ended

        await talk.hears(GET)
        assert len(talk.exchanges) == 1
        assert GET not in talk.passes_on()


async def test_interim_answers_go_by_in_order() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    async with conversation() as talk:
        await talk.hears(GET)
        await talk.answers(hints + hints + OK)

        assert talk.says() == hints + hints + OK


async def test_pipelined_requests_are_answered_in_order_one_after_the_other() -> None:
    async with conversation() as talk:
        await talk.hears(b"".join(b"GET /%d HTTP/1.1\r\nhost: a\r\n\r\n" % n for n in range(4)))
        for n in range(4):
            assert talk.passes_on() == b"GET /%d HTTP/1.1\r\nhost: a\r\n\r\n" % n
            await talk.answers(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n%d" % n)
            assert talk.says() == b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n%d" % n

        assert len(talk.endpoints) == 1


async def test_a_client_that_ends_after_pipelining_gets_every_answer() -> None:
    async with conversation() as talk:
        talk.client.hears(GET + GET)
        talk.client.hears_end()
        await talk.hears()
        await talk.answers(OK)
        assert talk.says() == OK
        await talk.answers(OK)

        assert talk.says() == OK_LAST
        assert talk.client.lost
        assert [exchange.status for exchange in talk.ended] == [200, 200]


async def test_a_client_that_ends_while_it_waits_gets_its_answer() -> None:
    async with conversation() as talk:
        talk.client.hears(GET)
        talk.client.hears_end()
        await talk.hears()
        await talk.answers(OK)

        assert talk.says() == OK_LAST
        assert talk.client.lost


async def test_drain_lets_what_is_on_its_way_finish_and_then_closes() -> None:
    async with conversation() as talk:
        await talk.hears(GET)
        talk.server.drain()
        await talk.answers(OK)

        assert talk.says() == OK_LAST
        assert talk.client.lost
        assert talk.sessions_closed == 1


async def test_a_client_that_is_idle_at_the_drain_is_told_with_its_next_response() -> None:
    async with conversation() as talk:
        await talk.hears(GET)
        await talk.answers(OK)
        talk.server.drain()
        await talk.hears(GET)
        await talk.answers(OK)

        assert talk.says() == OK + OK_LAST
        assert talk.client.lost


async def test_a_client_that_asks_for_nothing_after_the_drain_is_left_after_a_notice() -> None:
    async with conversation() as talk:
        await talk.hears(GET)
        await talk.answers(OK)
        talk.server.drain()
        await talk.expire(0.9)
        assert not talk.client.lost
        await talk.expire(1.1)

        assert talk.client.lost


async def test_a_response_that_began_before_the_drain_may_be_followed_by_one_more() -> None:
    async with conversation() as talk:
        await talk.hears(GET)
        await talk.answers(OK[:-2])
        talk.server.drain()
        await talk.answers(b"ok")
        await talk.hears(GET)
        await talk.answers(OK)

        assert talk.says() == OK + OK_LAST
        assert talk.client.lost


async def test_what_was_pipelined_before_the_drain_is_answered() -> None:
    async with conversation() as talk:
        await talk.hears(GET + GET)
        await talk.answers(OK[:-2])
        talk.server.drain()
        await talk.answers(b"ok")
        await talk.answers(OK)

        assert talk.says() == OK + OK_LAST
        assert talk.client.lost


async def test_what_is_cut_off_is_told_why_or_broken_off() -> None:
    async with conversation() as talk:
        await talk.hears(GET)
        talk.server.cut_off(ShutDown("test"))
        await settled()

        assert b"503" in (said := talk.says())
        assert b"tulle-error: shut-down\r\n" in said
        assert talk.client.lost

    async with conversation() as talk:
        await talk.hears(GET)
        await talk.answers(OK[:-2])
        talk.server.cut_off(ShutDown("test"))
        await settled()

        assert talk.client.lost
        assert isinstance(talk.ended[0].error, ShutDown)


async def test_a_body_that_comes_before_the_endpoint_is_connected_waits_for_it() -> None:
    async with conversation() as talk:
        talk.slow_to_connect = anyio.Event()
        await talk.hears(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nabc", b"de")
        assert talk.endpoints == []
        talk.slow_to_connect.set()
        await talk.hears(b"f")

        assert talk.passes_on().endswith(b"\r\n\r\nabcdef")


async def test_an_idle_client_is_left_after_a_while_and_so_is_an_idle_endpoint() -> None:
    async with conversation() as talk:
        await talk.hears(GET)
        await talk.answers(OK)
        await talk.expire(29)
        assert not talk.endpoint.closed
        await talk.expire(31)
        assert talk.endpoint.closed
        assert not talk.client.closed
        await talk.expire(601)

        assert talk.client.closed
        assert talk.says() == OK


async def test_a_426_keeps_its_offer() -> None:
    async with conversation() as talk:
        await talk.hears(GET)
        await talk.answers(
            b"HTTP/1.1 426 Upgrade Required\r\nupgrade: HTTP/2.0\r\nconnection: upgrade\r\n"
            b"content-length: 0\r\n\r\n"
        )

        assert b"upgrade: HTTP/2.0\r\nconnection: upgrade\r\n" in talk.says()
