"""Who goes on when too much waits for peers that do not read, and who has to end."""

from collections.abc import Callable, Iterator

import pytest

from proxy.codec.heads import UNKNOWN, ResponseHead
from proxy.refusals import Overloaded
from proxy.session import backlog
from proxy.session.backlog import Backlog
from tests.support.http2_world import (
    Application,
    ClientTalk,
    Loop,
    ServerTalk,
    settings,
    window,
    world,
)

HEAD = ResponseHead(200, [], body=UNKNOWN)
LIMIT = 4_000_000
CHUNK = 50_000
Meet = Callable[[], ServerTalk]


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loop]:
    monkeypatch.setattr(backlog, "TOTAL_LIMIT", Backlog.total + LIMIT)
    with world() as loop:
        yield loop


@pytest.fixture
def meet(loop: Loop) -> Iterator[Meet]:
    """Makes servers whose clients give no windows to streams; nothing is left of them afterwards."""
    talks: list[ServerTalk] = []

    def made() -> ServerTalk:
        talks.append(ServerTalk(loop))
        talks[-1].hears(settings(INITIAL_WINDOW_SIZE=0), window(0, 2**30))
        return talks[-1]

    yield made
    for talk in talks:
        talk.wire.breaks()
    loop.turn()
    assert all(talk.ended.all_once for talk in talks)
    assert not backlog._all


def stall(talk: ServerTalk, size: int = CHUNK) -> Application:
    """One more request; of its response so much waits."""
    talk.asks(2 * len(talk.applications) + 1)
    exchange = talk.applications[-1].exchange
    exchange.response(HEAD, b"", False, 0.0)
    exchange.response_data(b"x" * size)
    talk.loop.turn()
    return talk.applications[-1]


def was_shed(application: Application) -> bool:
    if not application.exchange.done:
        return False
    assert isinstance(application.exchange.error, Overloaded)
    assert application.cancelled
    return True


def test_a_client_that_reads_has_all_of_its_response_beside_many_that_do_not(meet: Meet) -> None:
    talk = meet()
    reader = stall(talk)
    deaf = []

    for _ in range(200):
        deaf.append(stall(talk))
        talk.hears(window(1, CHUNK))
        assert not reader.held
        reader.exchange.response_data(b"x" * CHUNK)
        assert Backlog.total < LIMIT
    talk.hears(window(1, CHUNK))

    reader.exchange.response_end([])
    talk.says()
    assert reader.exchange.error is None
    assert talk.ledger.data[1] == b"x" * 201 * CHUNK
    # Those that came last were there for the shortest time.
    ended = [was_shed(application) for application in deaf]
    assert ended == sorted(ended, reverse=True)
    assert 0 < ended.count(False) < 40


def test_those_end_first_of_whom_nothing_was_taken_for_longest(meet: Meet) -> None:
    talk = meet()
    streams = [stall(talk) for _ in range(10)]
    for number in (0, 5, 1):
        talk.hears(window(2 * number + 1, 1))
    order: list[int] = []

    while len(order) < 10:
        stall(talk)
        order += [n for n, one in enumerate(streams) if was_shed(one) and n not in order]

    assert order == [2, 3, 4, 6, 7, 8, 9, 0, 5, 1]


def test_who_waits_for_the_socket_only_is_not_taken_for_one_who_does_not_read(meet: Meet) -> None:
    talk = meet()
    talk.wire.stops_reading()
    readers = []
    for number in range(1, 41, 2):
        readers.append(stall(talk))
        talk.hears(window(number, 2**20))
    assert talk.session.clogged

    deaf = [stall(talk) for _ in range(100)]

    assert Backlog.total > LIMIT / 3
    assert sum(map(was_shed, deaf)) > 50
    assert not any(map(was_shed, readers))


def clog(talk: ServerTalk) -> Callable[[], Application]:
    """Clients with open windows behind a socket that takes nothing for now; makes one more."""
    talk.wire.stops_reading()

    def reader() -> Application:
        made = stall(talk)
        talk.hears(window(2 * len(talk.applications) - 1, 2**20))
        return made

    return reader


def test_many_who_wait_for_the_socket_have_all_the_room_there_is(meet: Meet) -> None:
    reader = clog(meet())

    readers = [reader() for _ in range(LIMIT // CHUNK - 2)]

    assert not any(map(was_shed, readers))
    waiting = [one for one in readers if one.held]
    assert len(waiting) > 0.9 * len(readers)
    for _ in range(len(readers) - len(waiting) + 5):
        reader()
    assert was_shed(waiting[0])
    assert Backlog.total <= LIMIT


def test_a_newcomer_finds_room_beside_many_who_wait_for_the_socket(meet: Meet) -> None:
    reader = clog(meet())
    readers = [reader() for _ in range(LIMIT // CHUNK - 1)]

    late = stall(meet())

    assert not was_shed(late)
    assert sum(map(was_shed, readers)) <= 2


def test_who_holds_little_does_not_end_for_those_who_hold_much(meet: Meet) -> None:
    talk = meet()
    modest = [stall(talk, 10) for _ in range(5)]

    greedy = [stall(talk) for _ in range(100)]

    assert any(map(was_shed, greedy))
    assert not any(map(was_shed, modest))


def test_a_newcomer_finds_room_where_many_connections_stall(meet: Meet) -> None:
    deaf = [stall(meet()) for _ in range(100)]

    late = [stall(meet()) for _ in range(5)]

    assert not any(map(was_shed, late))
    assert was_shed(deaf[0])
    assert Backlog.total < LIMIT


def test_who_holds_more_than_others_pushes_nobody_out(meet: Meet) -> None:
    deaf = [stall(meet()) for _ in range(5)]

    talk = meet()
    greedy = stall(talk)
    assert greedy.held
    # A source that goes on nevertheless.
    for _ in range(100):
        greedy.exchange.response_data(b"x" * CHUNK)
    talk.loop.turn()

    assert was_shed(greedy)
    assert not any(map(was_shed, deaf))


def test_uploads_to_endpoints_that_do_not_read_end_the_same_way(loop: Loop) -> None:
    talk = ClientTalk(loop)
    talk.hears(settings(INITIAL_WINDOW_SIZE=0, MAX_CONCURRENT_STREAMS=1000))
    callers = []

    for _ in range(100):
        callers.append(talk.ask(b"POST", end=False))
        talk.exchange.request_data(b"x" * CHUNK)
        loop.turn()

    answered = [caller.head.status if caller.head else 0 for caller in callers]
    assert answered == sorted(answered, reverse=True)
    assert set(answered) == {503, 0}
    talk.wire.breaks()
    loop.turn()
    assert talk.ended.all_once
