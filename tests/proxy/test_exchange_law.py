"""The law of exchanges: whatever happens in whatever order, each ends once, and nothing is left open."""

from collections.abc import Callable

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.conversation import GET, OK, Conversation, conversation, settled

REQUESTS = (
    GET,
    b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n",
    b"abc",
    b"3\r\nabc\r\n",
    b"0\r\n\r\n",
    b"nonsense\r\n\r\n",
    b"GET / HT",
    b"\r\n",
    b"x" * 70_000,
)
RESPONSES = (
    OK,
    b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 204 No\r\nconnection: close\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Yes\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    b"abc",
    b"3\r\nabc\r\n",
    b"0\r\n\r\n",
    b"nonsense\r\n\r\n",
    b"x" * 70_000,
)
Step = Callable[[Conversation], object]


def sends(data: bytes) -> Step:
    def step(talk: Conversation) -> None:
        talk.client.hears(data)

    step.__name__ = f"client sends {data[:40]!r}"
    return step


def answers(data: bytes) -> Step:
    def step(talk: Conversation) -> None:
        if talk.endpoints:
            talk.endpoint.hears(data)

    step.__name__ = f"endpoint sends {data[:40]!r}"
    return step


def at_endpoint(what: str) -> Step:
    def step(talk: Conversation) -> None:
        if talk.endpoints:
            getattr(talk.endpoint, what)()

    step.__name__ = f"endpoint {what}"
    return step


def at_client(what: str) -> Step:
    def step(talk: Conversation) -> None:
        getattr(talk.client, what)()

    step.__name__ = f"client {what}"
    return step


def unreachable(talk: Conversation) -> None:
    talk.unreachable = not talk.unreachable


def unauthorized(talk: Conversation) -> None:
    talk.unauthorized = not talk.unauthorized


def born_dead(talk: Conversation) -> None:
    talk.born_dead = not talk.born_dead


def slow(talk: Conversation) -> None:
    if talk.slow_to_connect is None:
        talk.slow_to_connect = anyio.Event()
    else:
        talk.slow_to_connect.set()
        talk.slow_to_connect = None


def drain(talk: Conversation) -> None:
    talk.server.drain()


def deadlines(talk: Conversation) -> None:
    talk.sweep.look(anyio.current_time() + 1000)


HAPPENINGS = ("hears_end", "breaks", "stops_reading", "reads_again")
steps = st.one_of(
    st.sampled_from(REQUESTS).map(sends),
    st.sampled_from(RESPONSES).map(answers),
    st.sampled_from(HAPPENINGS).map(at_client),
    st.sampled_from(HAPPENINGS).map(at_endpoint),
    st.sampled_from([unreachable, unauthorized, born_dead, slow, drain, deadlines]),
)


@given(st.lists(st.tuples(steps, st.booleans()), max_size=12))
@settings(max_examples=200, deadline=None)
def test_every_exchange_ends_once_and_nothing_is_left_open(story: list[tuple[Step, bool]]) -> None:
    anyio.run(tell, story, backend="asyncio", backend_options={"use_uvloop": True})


async def tell(story: list[tuple[Step, bool]]) -> None:
    async with conversation() as talk:  # looks, when all is over, that each exchange has ended once
        for step, wait in story:
            step(talk)
            if wait:
                await settled()
        if talk.slow_to_connect is not None:
            talk.slow_to_connect.set()
        await settled()
        waiting = [exchange for exchange in talk.exchanges if not exchange.done]
        assert len(waiting) <= 1, "one at a time"
        if talk.client.lost and talk.tunnels_closed + talk.sessions_closed:
            assert not waiting, "nobody waits for an answer"
        talk.client.reads_again()
        talk.client.breaks()
        await settled()
        assert talk.sessions_closed == 1
