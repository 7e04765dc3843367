"""Endpoints that leave: nothing is sent there any more, and what they have not looked at goes elsewhere."""

import anyio
import anyio.lowlevel
import pytest

from common.contract.discovery import Endpoint
from proxy.codec.heads import UNKNOWN
from proxy.outbound.reach import connections_to
from proxy.session.carrier import REPEATS
from proxy.session.exchange import REPLAY_LIMIT, Exchange
from proxy.transport.detect import Protocol
from tests.support.h2_place import H2Place
from tests.support.nats import until
from tests.support.outbound import OK, Choice, Heard, choice

pytestmark = pytest.mark.anyio


async def place(proxy: Choice, made: H2Place) -> H2Place:
    await proxy._group.start(made.serve)
    return made


def retiring(proxy: Choice) -> None:
    """What the outbound side does when discovery says that an endpoint left."""

    def left(endpoint: Endpoint, port: int) -> None:
        for protocol in (Protocol.HTTP1, Protocol.HTTP2):
            proxy.carrier.retire((connections_to(endpoint, port), protocol))

    proxy.balancer.left = left


def post(proxy: Choice, *parts: bytes) -> tuple[Exchange, Heard]:
    exchange, heard = proxy.send(b"POST", body=UNKNOWN, protocol="http/2")
    for part in parts[:-1]:
        exchange.request_data(part)
    exchange.request_data(parts[-1], end=True)
    return exchange, heard


async def over(heard: Heard) -> Heard:
    with anyio.fail_after(10):
        await heard.over.wait()
    return heard


# What was refused unprocessed.


@pytest.mark.parametrize("leaves", [False, True])
async def test_a_post_that_was_not_looked_at_is_sent_elsewhere(leaves: bool) -> None:
    async with choice() as proxy:
        first = await place(proxy, H2Place(b"first", refuses=100, leaves=leaves))
        second = await place(proxy, H2Place(b"second"))
        proxy.endpoints(first.port)
        _, heard = post(proxy, b"a ", b"body")
        # It is on its way to the first already.
        proxy.endpoints(first.port, second.port)
        await over(heard)

        assert (heard.status, heard.body) == (200, b"second a body")
        assert first.refused == 1


async def test_a_body_that_comes_slowly_is_sent_elsewhere_from_its_beginning() -> None:
    async with choice() as proxy:
        only = await place(proxy, H2Place(b"only", refuses=1))
        proxy.endpoints(only.port)
        exchange, heard = proxy.send(b"POST", body=UNKNOWN, protocol="http/2")
        exchange.request_data(b"be")
        await until(lambda: exchange.repeats)
        exchange.request_data(b"ginning", end=True)
        await over(heard)

        assert heard.body == b"only beginning"


async def test_a_long_body_cannot_be_sent_again() -> None:
    async with choice() as proxy:
        only = await place(proxy, H2Place(b"only", refuses=1))
        proxy.endpoints(only.port)
        _, heard = post(proxy, b"x" * (REPLAY_LIMIT + 1))
        await over(heard)

        assert (heard.status, heard.error) == (502, "not-processed")


async def test_a_request_that_everybody_refuses_is_refused_in_the_end() -> None:
    async with choice() as proxy:
        only = await place(proxy, H2Place(b"only", refuses=100))
        proxy.endpoints(only.port)
        _, heard = post(proxy, b"x")
        await over(heard)

        assert (heard.status, heard.error) == (502, "not-processed")
        assert only.refused == 1 + REPEATS


async def test_a_warning_that_an_endpoint_leaves_sends_new_requests_over_a_new_connection() -> None:
    async with choice() as proxy:
        only = await place(proxy, H2Place(b"only"))
        proxy.endpoints(only.port)
        only.hold = anyio.Event()
        _, before = post(proxy, b"before")
        await until(lambda: only.connections)
        await until(lambda: proxy.carrier.sessions)
        await only.warn()
        await until(lambda: not proxy.carrier.sessions)
        _, after = post(proxy, b"after")
        await until(lambda: len(only.connections) == 2)
        only.hold.set()

        assert (await over(before)).body == b"only before"
        assert (await over(after)).body == b"only after"


async def test_a_request_that_came_back_waits_if_nobody_is_ready_any_more() -> None:
    async with choice() as proxy:
        first = await place(proxy, H2Place(b"first", refuses=100))
        second = await place(proxy, H2Place(b"second"))
        proxy.endpoints(first.port)
        _, heard = post(proxy, b"x")
        proxy.endpoints()
        await until(lambda: first.refused)
        await until(lambda: proxy.requests.waiting)
        proxy.endpoints(second.port)
        await over(heard)

        assert heard.body == b"second x"


# Connections to those who left.


async def test_warm_connections_to_an_endpoint_that_left_are_closed() -> None:
    async with choice() as proxy:
        retiring(proxy)
        stays, leaves = await proxy.place(), await proxy.place()
        proxy.endpoints(stays.port)
        await proxy.ask()
        proxy.endpoints(leaves.port)
        await proxy.ask()
        assert proxy.carrier.idle == 1
        proxy.endpoints(stays.port)
        await until(lambda: proxy.carrier.idle == 0)


async def test_a_connection_in_use_is_closed_after_its_exchange() -> None:
    async with choice() as proxy:
        retiring(proxy)
        asked = anyio.Event()

        def answer(_: bytes) -> bytes:
            asked.set()
            # As if it had left while it was answering.
            proxy.endpoints()
            return OK

        only = await proxy.place(answer)
        proxy.endpoints(only.port)
        assert (await proxy.ask()).status == 200
        assert asked.is_set()
        await anyio.lowlevel.checkpoint()

        assert proxy.carrier.idle == 0


async def test_a_session_of_an_endpoint_that_left_finishes_its_streams_and_closes() -> None:
    async with choice() as proxy:
        retiring(proxy)
        only = await place(proxy, H2Place(b"only"))
        only.hold = anyio.Event()
        proxy.endpoints(only.port)
        _, heard = post(proxy, b"x")
        await until(lambda: proxy.carrier.sessions)
        proxy.endpoints()
        assert proxy.carrier.sessions == 0
        assert only.open == 1
        only.hold.set()

        assert (await over(heard)).body == b"only x"
        await until(lambda: only.open == 0)


async def test_an_endpoint_that_only_changed_its_weight_has_not_left() -> None:
    async with choice() as proxy:
        told: list[int] = []
        proxy.balancer.left = lambda _, port: told.append(port)
        for weight, uid, ready in ((1, "a", True), (2, "a", True), (2, "b", True), (2, "b", False)):
            endpoint = Endpoint(address="127.0.0.1", ports={}, uid=uid, weight=weight, ready=ready)
            proxy.balancer.update([(endpoint, 80)])
            proxy.balancer.update([(endpoint, 80)])

        # First another took its place, then that one was ready no longer.
        assert told == [80, 80]
