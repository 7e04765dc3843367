"""What ends a response that has begun: a status where gRPC has one for it, else a break."""

import asyncio

import pytest

from common.errors import MeshError
from proxy.codec.heads import UNKNOWN, RequestHead, ResponseHead
from proxy.refusals import ResponseLost, ResponseReset, ShutDown, TooSlow
from proxy.session.exchange import Exchange
from tests.support.outbound import Heard

pytestmark = pytest.mark.anyio


def begun(protocol: str = "grpc") -> tuple[Exchange, Heard]:
    heard = Heard()
    request = RequestHead(b"POST", b"/", b"web", [], body=UNKNOWN, protocol=protocol)
    exchange = Exchange(request, heard, asyncio.get_running_loop().time())
    exchange.response(ResponseHead(200, [], body=UNKNOWN), b"first", False, 1.0)
    return exchange, heard


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ShutDown("the grace period is over"), 14),
        (ResponseLost("closed"), 14),
        (TooSlow("its deadline has passed"), 4),
    ],
)
async def test_a_call_that_has_begun_ends_with_a_status(error: MeshError, status: int) -> None:
    exchange, heard = begun()

    exchange.refuse(error)

    word = error.reason.encode()
    assert heard.trailers == [
        (b"grpc-status", b"%d" % status),
        (b"grpc-message", word),
        (b"tulle-error", word),
    ]
    assert heard.broken_off is None
    assert (exchange.done, exchange.error, exchange.grpc_status) == (True, error, status)


async def test_a_reset_of_the_endpoint_is_passed_on_as_it_is() -> None:
    exchange, heard = begun()

    exchange.response_failed(ResponseReset(11))

    assert (heard.broken_off, heard.trailers) == (11, None)


async def test_who_does_not_read_would_not_hear_a_status() -> None:
    exchange, heard = begun()
    exchange.hold_response(True)

    exchange.refuse(ShutDown("the grace period is over"))

    assert (heard.broken_off, heard.trailers) == (2, None)


async def test_what_is_not_grpc_is_broken_off() -> None:
    exchange, heard = begun("http/2")

    exchange.refuse(ShutDown("the grace period is over"))

    assert (heard.broken_off, heard.trailers) == (2, None)
