"""What the outbound proxy does with requests when endpoints are missing, dead, failing or slow."""

import functools
import time

import anyio
import pytest

from common.contract.discovery import FailureAccrual
from proxy.outbound.queue import FAILFAST_SECONDS, QUEUE_LIMIT
from proxy.outbound.requests import TRIES
from proxy.refusals import NotProcessed
from proxy.session.exchange import REPLAY_LIMIT
from tests.support.nats import until
from tests.support.outbound import BROKEN, OK, Choice, Heard, choice, dead_port

pytestmark = pytest.mark.anyio
RULES = FailureAccrual(max_failures=3, min_penalty=0.2, max_penalty=5.0, jitter_ratio=0.0)


# None is ready.


async def test_a_hundred_wait_the_next_is_refused_and_all_are_after_three_seconds() -> None:
    async with choice() as proxy:
        proxy.endpoints()
        began = time.monotonic()
        told = [proxy.send()[1] for _ in range(101)]

        assert proxy.requests.waiting == QUEUE_LIMIT == 100
        assert [heard.status for heard in told] == [0] * 100 + [503]
        assert told[100].error == "overloaded"

        with anyio.fail_after(FAILFAST_SECONDS + 1):
            for heard in told:
                await heard.over.wait()
        took = time.monotonic() - began

        assert [heard.status for heard in told] == [504] * 100 + [503]
        assert {heard.error for heard in told[:100]} == {"no-endpoints"}
        assert took > FAILFAST_SECONDS - 0.01
        (series,) = proxy.counters.all()
        assert series.errors == {"no-endpoints": 100, "overloaded": 1}


async def test_what_took_longer_than_its_series_was_kept_is_counted_all_the_same() -> None:
    async with choice() as proxy:
        place = await proxy.place()
        proxy.endpoints(place.port)
        _, heard = proxy.send()
        for now in (1.0, 10_000.0):
            proxy.counters.forget_idle(now)
        assert not proxy.counters.all()

        with anyio.fail_after(10):
            await heard.over.wait()

        (series,) = proxy.counters.all()
        assert series.statuses == {"200": 1}


async def test_what_waits_goes_on_in_its_order_as_soon_as_there_is_an_endpoint() -> None:
    async with choice() as proxy:
        place = await proxy.place()
        proxy.endpoints()
        told = [
            proxy.send(headers=[(b"x-number", b"%d" % number)])[1] for number in range(QUEUE_LIMIT)
        ]
        await anyio.sleep(0.05)

        proxy.endpoints(place.port)
        with anyio.fail_after(5):
            for heard in told:
                await heard.over.wait()

        assert {heard.status for heard in told} == {200}
        assert len(place.asked) == QUEUE_LIMIT


async def test_an_update_without_a_ready_endpoint_lets_them_wait_on() -> None:
    async with choice() as proxy:
        place = await proxy.place()
        proxy.endpoints()
        _, heard = proxy.send()

        proxy.endpoints()
        proxy.endpoints()
        assert proxy.requests.waiting == 1
        proxy.endpoints(place.port)
        with anyio.fail_after(5):
            await heard.over.wait()

        assert heard.status == 200


async def test_a_client_that_leaves_makes_room_for_another() -> None:
    async with choice() as proxy:
        proxy.endpoints()
        exchanges = [proxy.send()[0] for _ in range(QUEUE_LIMIT)]

        exchanges[50].request_lost()
        assert proxy.requests.waiting == QUEUE_LIMIT - 1
        exchange, heard = proxy.send()
        assert heard.status == 0

        for waiting in (*exchanges, exchange):
            waiting.request_lost()
        assert not proxy.balancer._waiting


# None answers the telephone.


async def test_a_request_whose_connection_is_refused_goes_to_another_endpoint() -> None:
    async with choice() as proxy:
        place = await proxy.place()
        proxy.endpoints(dead_port(), place.port, dead_port())

        told = [await proxy.ask() for _ in range(20)]

        assert {heard.status for heard in told} == {200}
        assert len(place.asked) == 20


async def test_its_body_is_sent_once_and_whole_wherever_it_goes_at_last() -> None:
    async with choice() as proxy:
        place = await proxy.place()
        proxy.endpoints(dead_port(), place.port)
        for _ in range(10):
            exchange, heard = proxy.send(b"POST", body=6, headers=[(b"content-length", b"6")])
            exchange.request_data(b"abc")
            exchange.request_data(b"def", end=True)
            with anyio.fail_after(5):
                await heard.over.wait()
            assert heard.status == 200

        assert [asked.partition(b"\r\n\r\n")[2] for asked in place.asked] == [b"abcdef"] * 10


async def test_after_so_many_tries_the_client_is_told() -> None:
    async with choice() as proxy:
        proxy.endpoints(*(dead_port() for _ in range(5)))

        heard = await proxy.ask()

        assert (heard.status, heard.error) == (502, "connect-failed")
        resting = [c for c in proxy.candidates() if c.rests_until]
        assert len(resting) == TRIES == 3


async def test_many_requests_at_once_find_the_one_endpoint_that_is_alive() -> None:
    async with choice() as proxy:
        place = await proxy.place()
        proxy.endpoints(dead_port(), dead_port(), place.port)

        told = [proxy.send()[1] for _ in range(200)]
        with anyio.fail_after(10):
            for heard in told:
                await heard.over.wait()

        assert {heard.status for heard in told} == {200}


# Some fail.


async def ask_until(proxy: Choice, what: str) -> list[int]:
    """Ask until the balancer tells of `what`; the statuses of the answers."""
    told: list[int] = []
    with anyio.fail_after(10):
        while what not in proxy.told:
            told.append((await proxy.ask()).status)
            await anyio.sleep(0.01)
    return told


async def test_an_endpoint_that_turns_away_what_cannot_be_sent_again_is_left_alone() -> None:
    async with choice() as proxy:
        place = await proxy.place()
        proxy.endpoints(place.port)
        size = REPLAY_LIMIT + 2
        exchange, heard = proxy.send(
            b"POST", body=size, headers=[(b"content-length", b"%d" % size)]
        )
        await until(lambda: exchange.client is not None)
        exchange.request_data(bytes(REPLAY_LIMIT + 1))

        exchange.response_failed(NotProcessed("the endpoint refused the stream"))

        assert heard.error == "not-processed"
        (candidate,) = proxy.candidates()
        assert candidate.rests_until > 0


async def test_an_endpoint_that_fails_is_left_alone_and_probed_until_it_is_well() -> None:
    async with choice() as proxy:
        well = False
        good = await proxy.place()
        moody = await proxy.place(lambda _: OK if well else BROKEN)
        proxy.endpoints(good.port, moody.port, accrual=RULES)

        await ask_until(proxy, "ejected")
        before = len(moody.asked)
        assert before == 3
        told = [(await proxy.ask()).status for _ in range(30)]
        assert told.count(500) <= 1
        with anyio.fail_after(10):
            while len(moody.asked) < before + 2:
                await proxy.ask()
                await anyio.sleep(0.005)

        well = True
        await ask_until(proxy, "readmitted")
        assert proxy.told == ["ejected", "readmitted"]
        assert {(await proxy.ask()).status for _ in range(20)} == {200}


async def test_a_connection_that_is_cut_counts_as_a_failure() -> None:
    async with choice() as proxy:
        good = await proxy.place()
        cutting = await proxy.place(lambda _: b"")
        proxy.endpoints(good.port, cutting.port, accrual=RULES)

        told = await ask_until(proxy, "ejected")

        assert told.count(502) == 3


async def test_what_is_not_http_counts_as_a_failure() -> None:
    async with choice() as proxy:
        good = await proxy.place()
        babbling = await proxy.place(lambda _: b"nonsense\r\n\r\n")
        proxy.endpoints(good.port, babbling.port, accrual=RULES)

        told = await ask_until(proxy, "ejected")

        assert told.count(502) == 3


async def test_an_endpoint_that_cannot_be_connected_to_is_left_alone_longer_and_longer() -> None:
    async with choice() as proxy:
        good = await proxy.place()
        proxy.endpoints(good.port, dead_port(), accrual=RULES)

        told = await ask_until(proxy, "ejected")

        assert set(told) == {200}


async def test_an_answer_of_the_client_s_making_is_no_failure() -> None:
    async with choice() as proxy:
        place = await proxy.place(lambda _: b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n")
        proxy.endpoints(place.port, accrual=RULES)

        assert {(await proxy.ask()).status for _ in range(20)} == {404}
        assert proxy.told == []


def has_begun(heard: Heard) -> bool:
    return heard.status == 200


async def test_a_client_that_leaves_says_nothing_of_the_endpoint() -> None:
    async with choice() as proxy:
        place = await proxy.place(lambda _: b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")
        proxy.endpoints(place.port, accrual=RULES)

        for _ in range(10):
            exchange, heard = proxy.send()
            await until(functools.partial(has_begun, heard), 5)
            exchange.request_lost()

        assert proxy.told == []


async def test_a_probe_whose_client_leaves_does_not_lock_the_endpoint_out() -> None:
    async with choice() as proxy:
        well = False
        place = await proxy.place(lambda _: OK if well else BROKEN)
        other = await proxy.place()
        proxy.endpoints(place.port, other.port, accrual=RULES)
        await ask_until(proxy, "ejected")
        (broken,) = [c for c in proxy.candidates() if c.port == place.port]
        well = True
        with anyio.fail_after(5):
            while broken.in_flight == 0:
                exchange, heard = proxy.send()
                if broken.in_flight:
                    exchange.request_lost()
                    break
                await heard.over.wait()
                await anyio.sleep(0.005)

        await ask_until(proxy, "readmitted")


async def test_when_all_fail_clients_hear_it_from_them_and_recover_with_them() -> None:
    async with choice() as proxy:
        well = False
        places = [await proxy.place(lambda _: OK if well else BROKEN) for _ in range(3)]
        proxy.endpoints(*(place.port for place in places), accrual=RULES)

        told = [(await proxy.ask()).status for _ in range(60)]
        assert set(told) == {500}
        assert proxy.told.count("ejected") == 3

        well = True
        assert {(await proxy.ask()).status for _ in range(60)} == {200}
