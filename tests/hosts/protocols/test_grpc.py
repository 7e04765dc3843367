"""gRPC between a client and a server that are grpcio's."""

import json
import os
import sys

import anyio
import msgspec
import pytest

from tests.support import grpc_client
from tests.support.grpc_client import Call, Calls, Outcome
from tests.support.intercepted import Intercepted

pytestmark = pytest.mark.anyio

FORMS = ("Unary", "Collect", "Repeat", "Talk")
LARGE = 4_000_000
CLIENT = ("client-1", sys.executable, "-P", grpc_client.__file__)


async def made(
    mesh: Intercepted, *calls: Call, port: int = 50051, at_once: bool = True, **options: int
) -> list[Outcome]:
    """How calls of grpcio's client went, all over one connection."""
    asked = Calls(
        target=f"grpc:{port}",
        calls=calls,
        at_once=at_once,
        options=tuple((f"grpc.{name}", value) for name, value in options.items()),
    )
    said = await mesh.run(*CLIENT, text=msgspec.json.encode(asked))
    return msgspec.json.decode(said.encode("latin-1"), type=list[Outcome])


async def noticed(mesh: Intercepted, name: str) -> str:
    """How the server says that a call with this `note` has ended."""
    with anyio.fail_after(10):
        while True:
            [told] = await made(mesh, Call("Noticed"))
            if name in (known := json.loads(told.replies[0])):
                return str(known[name])


async def test_all_four_forms_of_calls(mesh: Intercepted) -> None:
    unary, collect, repeat, talk = await made(
        mesh,
        Call("Unary"),
        Call("Collect", (b"one", b"", b"two")),
        Call("Repeat", metadata=(("times", b"100"),)),
        Call("Talk", tuple(b"%d" % number for number in range(100))),
    )

    assert {told.code for told in (unary, collect, repeat, talk)} == {"OK"}
    assert unary.replies == (b"hello",)
    assert collect.replies == (b"onetwo",)
    assert repeat.replies == (b"hello",) * 100
    assert talk.replies == tuple(b"%d" % number for number in range(100))


async def test_hundreds_of_calls_at_the_same_time_over_one_connection(mesh: Intercepted) -> None:
    calls = [Call(FORMS[n % 4], (b"%d" % n,), (("sleep", b"0.1"),)) for n in range(400)]

    told = await made(mesh, *calls)

    assert [outcome.replies for outcome in told] == [call.messages for call in calls]


async def test_messages_of_4_mb_each_way(mesh: Intercepted) -> None:
    body = os.urandom(LARGE)
    ask_for = (("size", b"%d" % LARGE),)

    told = await made(
        mesh,
        Call("Unary", (body,)),
        Call("Collect", (body,)),
        Call("Repeat", metadata=(*ask_for, ("times", b"2"))),
        Call("Talk", (body, b"small", body)),
    )

    replies = [outcome.replies for outcome in told]
    assert replies == [(body,), (body,), (b"r" * LARGE,) * 2, (body, b"small", body)]


async def test_metadata_comes_both_ways_as_it_is(mesh: Intercepted) -> None:
    given = (
        ("x-text", b"a text, with = signs; and so on"),
        ("x-empty", b""),
        ("x-twice", b"1"),
        ("x-twice-bin", bytes(range(256))),
        ("x-long", b"y" * 6000),
    )

    for told in await made(mesh, *(Call(form, metadata=given) for form in FORMS)):
        assert told.initial == given
        assert told.trailing == given


async def test_metadata_that_is_too_large_ends_its_call_and_no_other(mesh: Intercepted) -> None:
    beside, asked, answered, after = await made(
        mesh,
        Call("Talk", (b"a",) * 3, (("sleep", b"0.3"),)),
        Call("Unary", metadata=(("x-huge", b"y" * 100_000),)),
        Call("Unary", metadata=(("large", b"100000"),)),
        Call("Unary", after=0.5),
        max_metadata_size=1_000_000,
        absolute_max_metadata_size=1_000_000,
    )

    assert "431" in asked.details, asked
    assert answered.code != "OK"
    assert (beside.code, after.code) == ("OK", "OK")


async def test_statuses_come_with_message_and_details_before_and_after_replies(
    mesh: Intercepted,
) -> None:
    details = "nothing – 100 % of it, in two\nlines"
    asked = (("code", b"5"), ("details-bin", details.encode()), ("rich", b"1"))

    for told in await made(mesh, *(Call(form, metadata=asked) for form in FORMS)):
        assert (told.code, told.details) == ("NOT_FOUND", details)
        assert told.trailing == (("grpc-status-details-bin", bytes(range(256))),)


@pytest.mark.parametrize("form", FORMS)
async def test_a_deadline_of_the_client_ends_the_call_on_both_sides(
    mesh: Intercepted, form: str
) -> None:
    asked = (("sleep", b"20"), ("note", f"late {form}".encode()))

    [told] = await made(mesh, Call(form, metadata=asked, timeout=0.3))

    assert told.code == "DEADLINE_EXCEEDED"
    assert 0.2 < told.seconds < 3
    assert await noticed(mesh, f"late {form}") == "cancelled"


async def test_the_server_sees_how_much_time_is_left(mesh: Intercepted) -> None:
    limited, free = await made(mesh, Call("Remaining", timeout=30.0), Call("Remaining"))

    assert 20 < float(limited.replies[0]) <= 30
    assert free.replies == (b"None",)


@pytest.mark.parametrize("form", ["Repeat", "Talk"])
async def test_a_call_that_the_client_cancels_is_cancelled_at_the_server(
    mesh: Intercepted, form: str
) -> None:
    asked = (("times", b"1000"), ("pause", b"0.05"), ("note", f"left {form}".encode()))

    left, beside = await made(
        mesh,
        Call(form, (b"x",) * 1000, metadata=asked, cancel_after=3),
        Call("Unary", metadata=(("sleep", b"0.5"),)),
    )

    assert (left.code, len(left.replies)) == ("CANCELLED", 3)
    assert beside.code == "OK"
    assert await noticed(mesh, f"left {form}") == "cancelled"


async def test_a_client_that_vanishes_is_noticed_by_the_server(mesh: Intercepted) -> None:
    asked = (("times", b"1000"), ("pause", b"0.05"), ("note", b"vanished"))
    calls = Calls(target="grpc:50051", calls=(Call("Repeat", metadata=asked, aloud=True),))

    async with mesh.running(*CLIENT) as client:
        await client.hear(msgspec.json.encode(calls))
        await client.line()
    assert await noticed(mesh, "vanished") == "cancelled"


async def test_a_call_that_the_server_cancels_ends_at_the_client(mesh: Intercepted) -> None:
    asked = (("code", b"1"), ("times", b"3"))

    [told] = await made(mesh, Call("Repeat", metadata=asked))

    assert (told.code, len(told.replies)) == ("CANCELLED", 3)


async def test_pings_of_the_client_are_answered(mesh: Intercepted) -> None:
    [told] = await made(
        mesh,
        Call("Unary", metadata=(("sleep", b"3"),)),
        keepalive_time_ms=100,
        keepalive_timeout_ms=1000,
    )

    assert told.code == "OK"


async def test_success_is_told_by_the_status_of_each_call(mesh: Intercepted) -> None:
    edges = await mesh.edges()
    before = (
        edges["client", "grpc", "grpc"].figures if ("client", "grpc", "grpc") in edges else None
    )
    codes = (0, 0, 0, 5, 16, 13, 14, 2)

    await made(mesh, *(Call("Unary", metadata=(("code", b"%d" % c),) if c else ()) for c in codes))
    edge = (await mesh.edges())["client", "grpc", "grpc"]

    # NOT_FOUND and UNAUTHENTICATED are the caller's fault.
    more = edge.figures.requests - (before.requests if before else 0)
    failures = round(edge.figures.requests * (1 - (edge.figures.success_rate or 0)))
    earlier = round(before.requests * (1 - (before.success_rate or 0))) if before else 0
    assert (more, failures - earlier) == (8, 3)
    assert edge.mtls
    assert edge.target_identity == "spiffe://cluster.local/ns/shop/sa/grpc"


async def test_a_server_that_is_gone_is_unavailable_and_the_mesh_says_why(
    mesh: Intercepted,
) -> None:
    lost, gone = await made(mesh, Call("Die"), Call("Unary", after=0.5), port=50052)

    assert lost.code == "UNAVAILABLE"
    assert dict(lost.trailing)["tulle-error"] == b"response-lost"
    assert gone.code == "UNAVAILABLE"
    # Nothing was sent, so another endpoint could have taken it.
    assert dict(gone.trailing)["tulle-error"] == b"connect-failed"
    [other] = await made(mesh, Call("Unary"))
    assert other.code == "OK"
