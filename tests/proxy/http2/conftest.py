"""A world for sessions of HTTP/2, and neighbours in it who must not notice what happens beside them."""

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from proxy.codec.heads import UNKNOWN, ResponseHead
from tests.support.http2_abuse import PONG, Costs
from tests.support.http2_world import POST, ClientTalk, Loop, ServerTalk, data, world


@pytest.fixture
def loop() -> Iterator[Loop]:
    with world() as loop:
        yield loop


@pytest.fixture
def neighbours(loop: Loop) -> Iterator[int]:
    """Two connections, one of each side, in the middle of something; so many deadlines are theirs.

    Afterwards they go on as if nothing had happened, and were told nothing meanwhile.
    """
    server, client = ServerTalk(loop), ClientTalk(loop)
    server.asks(1, POST, end=False)
    server.applications[0].exchange.response(ResponseHead(200, [], body=UNKNOWN), b"", False, 0.0)
    caller = client.ask(b"POST", end=False)
    client.answers(1, end=False)
    server.says()
    client.says()
    loop.each_second.append(lambda: server.hears(PONG))

    yield len(loop.sweep)

    assert server.says() == []
    assert client.says() == []
    server.hears(data(1, b"up", end=True))
    server.applications[0].exchange.response_data(b"down", end=True)
    assert server.applications[0].body == b"up"
    assert server.says() == ["DATA 1 4 end"]
    server.asks(3)
    server.applications[1].exchange.response(ResponseHead(204, []), b"", True, 0.0)
    assert server.says() == ["HEADERS 3 end"]
    client.exchange.request_data(b"up", end=True)
    assert client.says() == ["DATA 1 2 end"]
    client.hears(data(1, b"down", end=True))
    assert caller.body == b"down"
    again = client.ask()
    client.answers(3)
    assert again.head is not None
    assert again.head.status == 200
    for talk in (server, client):
        talk.wire.breaks()
    loop.turn()


@pytest.fixture
def costs() -> Costs:
    """See Costs."""

    @contextmanager
    def measured(most: int) -> Iterator[None]:
        tracemalloc.start()
        try:
            yield
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < most

    return measured
