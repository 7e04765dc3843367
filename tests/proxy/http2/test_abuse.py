"""What hostile peers do: answered as RFC 9113 and the advisories ask, at a bounded cost, and to nobody else."""

from collections.abc import Callable, Iterator

import pytest
from hyperframe.frame import PriorityFrame

from proxy.codec.frames import Code
from proxy.codec.header_blocks import write_block
from proxy.codec.heads import ResponseHead
from proxy.session.memo import Memo
from proxy.session.patience import CHORES_AT_ONCE, RESETS_AT_ONCE
from tests.support.http2_abuse import Attack, Costs, against_client, against_server
from tests.support.http2_world import (
    GET,
    OK,
    ClientTalk,
    Loop,
    ServerTalk,
    data,
    ending,
    headers,
    reset,
    window,
)

ROUNDS = 3 * CHORES_AT_ONCE
MOST_BYTES = 3 * 1024 * 1024
"""What an attack may make a session need; the streams that are open while it lasts are most of it."""
TO_SERVER = against_server(GET)
TO_CLIENT = against_client(OK)


@pytest.fixture
def server(loop: Loop, neighbours: int) -> Iterator[ServerTalk]:
    """A server that was greeted; afterwards nothing is left of whatever happened."""
    before = Memo.total
    with ending(ServerTalk(loop)) as talk:
        yield talk
    assert len(loop.sweep) == neighbours
    assert not talk.session.streams
    assert Memo.total - before < 100_000


@pytest.fixture
def client(loop: Loop, neighbours: int) -> Iterator[ClientTalk]:
    """A client that was greeted and has asked once; afterwards nothing is left of whatever happened."""
    with ending(ClientTalk(loop)) as talk:
        talk.ask()
        talk.says()
        yield talk
    assert len(loop.sweep) == neighbours
    assert not talk.session.streams


def suffer(talk: ServerTalk | ClientTalk, attack: Attack) -> list[str]:
    """Hear all of it, or as much as is listened to; what was said to that."""
    talk.hears(attack.before)
    for number in range(attack.rounds or ROUNDS):
        talk.hears(attack.again(number))
        if talk.wire.closed:
            break
    return talk.says()


@pytest.mark.parametrize("what", TO_SERVER)
def test_a_client_that_attacks_is_told_why_it_has_to_leave(
    server: ServerTalk, costs: Costs, what: str
) -> None:
    with costs(MOST_BYTES):
        said = suffer(server, TO_SERVER[what])

    assert said[-1].startswith("GOAWAY")
    assert said[-1].endswith(TO_SERVER[what].answer)
    assert len(said) <= CHORES_AT_ONCE + 2
    assert server.wire.closed
    assert len(server.applications) <= 2 * RESETS_AT_ONCE + 1
    assert all(application.cancelled for application in server.applications)


@pytest.mark.parametrize("what", TO_CLIENT)
def test_an_endpoint_that_attacks_is_left_and_its_callers_are_told(
    client: ClientTalk, costs: Costs, what: str
) -> None:
    with costs(MOST_BYTES):
        said = suffer(client, TO_CLIENT[what])

    assert said[-1].startswith("GOAWAY")
    assert said[-1].endswith(TO_CLIENT[what].answer)
    assert len(said) <= CHORES_AT_ONCE + 2
    assert client.wire.closed
    assert client.exchange.error is not None
    assert client.exchange.status in (200, 502)


@pytest.mark.parametrize("what", ["PING", "SETTINGS", "PRIORITY", "empty DATA"])
def test_a_little_busywork_is_forgiven_every_second(server: ServerTalk, what: str) -> None:
    attack = TO_SERVER[what]
    server.hears(attack.before)

    for _ in range(60):
        server.hears(attack.again(0) * 1000)
        server.loop.advance(1)
        server.says()

    assert not server.wire.closed


def test_a_client_whose_users_change_their_minds_is_no_attacker(server: ServerTalk) -> None:
    block = write_block(GET)
    for stream in range(1, 60_001, 2):
        server.hears(headers(stream, block, end=True))
        if stream % 10 < 5:
            server.hears(reset(stream))
        else:
            server.applications[-1].exchange.response(ResponseHead(204, []), b"", True, 0.0)
        server.says()

    assert not server.wire.closed


FAILURES: dict[str, Callable[[int], bytes]] = {
    "refused": lambda stream: reset(stream, Code.REFUSED_STREAM),
    "an empty window update": lambda stream: window(stream, 0),
    "a priority on itself": lambda stream: PriorityFrame(stream, depends_on=stream).serialize(),
    "malformed": lambda stream: headers(stream, write_block([(b"x", b"y")]), end=True),
    "a body before its head": lambda stream: data(stream, b"body", end=True),
}


@pytest.mark.parametrize("how", FAILURES)
def test_an_endpoint_that_fails_every_request_costs_each_only_its_own(
    client: ClientTalk, how: str
) -> None:
    """The streams are ours, so resets of them are not how an endpoint attacks."""
    client.answers(1)
    for stream in range(3, 10_001, 2):
        caller = client.ask()
        client.hears(FAILURES[how](stream))
        assert caller.head is not None
        assert caller.head.status == 502
        client.says()

    assert not client.wire.closed
    caller = client.ask()
    client.answers(10_001)
    assert caller.head is not None
    assert caller.head.status == 200
