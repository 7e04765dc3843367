"""What waits for windows and sockets: in what order it goes, how long it may wait, and how much of it."""

from collections.abc import Iterator

import pytest

from proxy.codec.frames import FRAME_LIMIT
from proxy.codec.heads import UNKNOWN, Headers, ResponseHead
from proxy.refusals import ClientGone, Overloaded, TooSlow
from proxy.session import backlog
from proxy.session.backlog import Backlog
from proxy.session.http2_output import BURST
from tests.support.clock import cpu_seconds, least
from tests.support.http2_world import (
    GET,
    Application,
    ClientTalk,
    Loop,
    ServerTalk,
    data,
    ending,
    settings,
    window,
)

HEAD = ResponseHead(200, [], body=UNKNOWN)


@pytest.fixture
def talk(loop: Loop) -> Iterator[ServerTalk]:
    """A server that was greeted; afterwards nothing is left of whatever happened."""
    with ending(ServerTalk(loop)) as talk:
        yield talk
    assert not len(loop.sweep)


def answer(
    talk: ServerTalk, size: int, *, end: bool = True, trailers: Headers | None = None
) -> Application:
    """A request, answered with so many bytes at once."""
    number = 2 * len(talk.applications) + 1
    talk.asks(number, GET)
    exchange = talk.applications[-1].exchange
    exchange.response(HEAD, b"", False, 0.0)
    exchange.response_data(b"%d" % (number % 10) * size, end and trailers is None)
    if trailers is not None:
        exchange.response_end(trailers)
    return talk.applications[-1]


def sent(words: list[str], stream: int) -> int:
    """Bytes of DATA on a stream."""
    found = [word.split() for word in words]
    return sum(int(w[2]) for w in found if w[0] == "DATA" and w[1] == str(stream))


def test_a_body_waits_for_its_window(talk: ServerTalk) -> None:
    talk.hears(window(0, 2**20))
    answer(talk, 100_000)
    assert sent(talk.says(), 1) == 65_535

    talk.hears(window(1, 10))
    assert talk.says() == ["DATA 1 10"]

    talk.hears(window(1, 50_000))
    assert sent(said := talk.says(), 1) == 100_000 - 65_545
    assert said[-1].endswith(" end")
    assert talk.ledger.data[1] == b"1" * 100_000


def test_trailers_wait_for_their_body(talk: ServerTalk) -> None:
    talk.hears(window(0, 2**20))
    answer(talk, 65_536, trailers=[(b"grpc-status", b"0")])
    assert talk.says()[-1] == "DATA 1 16383"

    talk.hears(window(1, 1))

    assert talk.says() == ["DATA 1 1", "HEADERS 1 end"]


def test_streams_take_turns(talk: ServerTalk) -> None:
    """The connection's window is what they share."""
    talk.hears(settings(INITIAL_WINDOW_SIZE=2**20))
    for _ in range(4):
        answer(talk, 200_000)
    talk.says()

    turns = []
    for _ in range(8):
        talk.hears(window(0, FRAME_LIMIT))
        turns += [word.split()[1] for word in talk.says()]

    assert sorted(turns[:4]) == sorted(turns[4:]) == ["1", "3", "5", "7"]


def test_windows_that_became_negative_have_to_be_filled_again(talk: ServerTalk) -> None:
    talk.hears(window(0, 2**20))
    answer(talk, 70_000)
    talk.says()

    talk.hears(settings(INITIAL_WINDOW_SIZE=1000))
    talk.hears(window(1, 64_534))
    assert talk.says() == ["SETTINGS ack"]
    talk.hears(window(1, 2))
    assert talk.says() == ["DATA 1 1"]
    talk.hears(settings(INITIAL_WINDOW_SIZE=1007))
    assert talk.says() == ["SETTINGS ack", "DATA 1 7"]


def test_the_end_needs_no_window(talk: ServerTalk) -> None:
    talk.hears(settings(INITIAL_WINDOW_SIZE=0))
    answer(talk, 0)

    assert talk.says()[-2:] == ["HEADERS 1", "DATA 1 0 end"]


@pytest.mark.parametrize("stream", [0, 1])
def test_a_window_that_overflows_ends_what_it_is_of(talk: ServerTalk, stream: int) -> None:
    answer(talk, 70_000)
    talk.says()

    talk.hears(window(stream, 2**31 - 1))
    talk.hears(window(stream, 2**31 - 1))

    how = "GOAWAY 1 FLOW_CONTROL_ERROR window-overflow"
    assert talk.says()[-1] == (how if not stream else "RST_STREAM 1 FLOW_CONTROL_ERROR")


def test_settings_may_overflow_windows_too(talk: ServerTalk) -> None:
    answer(talk, 70_000)
    talk.hears(window(1, 2**31 - 1 - 65_535))
    talk.says()

    talk.hears(settings(INITIAL_WINDOW_SIZE=2**31 - 1))

    assert talk.says()[-1] == "GOAWAY 1 FLOW_CONTROL_ERROR window-overflow"


def test_a_source_is_held_until_what_it_sent_is_out(talk: ServerTalk) -> None:
    talk.asks(1)
    application = talk.applications[0]
    exchange = application.exchange
    exchange.response(HEAD, b"", False, 0.0)
    exchange.response_data(b"x" * 65_535)
    assert not application.held

    exchange.response_data(b"y")
    assert application.held

    talk.hears(window(0, 5), window(1, 5))
    assert not application.held


def test_a_client_that_takes_nothing_is_given_up(talk: ServerTalk) -> None:
    answer(talk, 70_000, end=False)
    talk.says()

    for _ in range(6):
        talk.loop.advance(9)
        talk.hears(window(0, 1000))
        assert talk.says() == []
    for _ in range(3):
        talk.loop.advance(9)
        talk.hears(window(0, 1000))

    assert talk.says() == ["RST_STREAM 1 CANCEL"]
    assert isinstance(talk.applications[0].exchange.error, ClientGone)
    assert talk.applications[0].cancelled
    assert not talk.wire.closed


def test_a_client_that_takes_a_little_is_not(talk: ServerTalk) -> None:
    answer(talk, 70_000)
    talk.says()

    for _ in range(30):
        talk.loop.advance(9)
        talk.hears(window(0, 1), window(1, 1))
        assert talk.says() == ["DATA 1 1"]


def test_an_endpoint_that_takes_nothing_is_given_up(loop: Loop) -> None:
    talk = ClientTalk(loop)
    caller = talk.ask(b"POST", end=False)
    talk.exchange.request_data(b"x" * 70_000)
    assert caller.held
    talk.says()

    for _ in range(9):
        loop.advance(9)
        talk.hears(window(0, 1000))

    assert talk.says() == ["RST_STREAM 1 CANCEL"]
    assert isinstance(talk.exchange.error, TooSlow)
    assert caller.head is not None
    assert caller.head.status == 504
    talk.wire.breaks()
    loop.turn()
    assert talk.ended.all_once


def test_a_socket_that_takes_nothing_is_given_up(talk: ServerTalk) -> None:
    talk.hears(settings(INITIAL_WINDOW_SIZE=2**20), window(0, 2**20))
    talk.says()
    talk.wire.stops_reading()
    answer(talk, 500_000, end=False)
    talk.loop.turn()
    assert talk.session.clogged

    for _ in range(9):
        assert not talk.wire.closed
        talk.loop.advance(9)
        talk.hears(window(0, 1000))

    assert talk.wire.broken
    assert talk.applications[0].cancelled


def test_a_trickle_costs_no_more_when_much_waits_behind_it(loop: Loop) -> None:
    def trickle(size: int) -> float:
        talk = ServerTalk(loop)
        talk.hears(window(0, 2**20))
        answer(talk, size)
        talk.says()
        with cpu_seconds() as spent:
            for _ in range(3000):
                talk.hears(window(1, 1))
        cost = spent()
        assert talk.says() == ["DATA 1 1"] * 3000
        talk.wire.breaks()
        loop.turn()
        return cost

    assert least(lambda: trickle(3_000_000)) < 5 * least(lambda: trickle(70_000))


def test_small_pieces_that_wait_cost_no_more_than_their_bytes(loop: Loop) -> None:
    def pieces(count: int) -> float:
        talk = ServerTalk(loop)
        talk.hears(settings(INITIAL_WINDOW_SIZE=0), window(0, 2**20))
        application = answer(talk, 1, end=False)
        talk.says()
        with cpu_seconds() as spent:
            for _ in range(count):
                application.exchange.response_data(b"ab")
            talk.hears(window(1, 2 * count + 1))
        cost = spent()
        assert len(said := talk.says()) == (2 * count + 1) // FRAME_LIMIT + 1
        assert sent(said, 1) == 2 * count + 1
        talk.wire.breaks()
        loop.turn()
        return cost

    # What grows with the square would cost a hundred times as much.
    assert least(lambda: pieces(100_000)) < 30 * least(lambda: pieces(10_000))


def test_streams_that_cannot_move_cost_nothing_when_others_can(loop: Loop) -> None:
    """A small window of the connection, and streams whose own is closed."""

    def widen(stalled: int) -> float:
        talk = ServerTalk(loop)
        talk.hears(settings(INITIAL_WINDOW_SIZE=0))
        for _ in range(stalled):
            answer(talk, 1000)
        talk.says()
        with cpu_seconds() as spent:
            for _ in range(5000):
                talk.hears(window(0, 1))
        cost = spent()
        assert talk.says() == []
        talk.wire.breaks()
        loop.turn()
        return cost

    assert least(lambda: widen(255)) < 5 * least(lambda: widen(2))


def test_settings_that_move_windows_to_and_fro_move_each_once(loop: Loop) -> None:
    change = b"\0\4\0\0\0\5" + b"\0\4\0\0\0\6"
    frame = (1365 * len(change)).to_bytes(3, "big") + b"\4\0\0\0\0\0" + change * 1365

    def move(streams: int) -> float:
        talk = ServerTalk(loop)
        for number in range(streams):
            talk.asks(2 * number + 1)
        with cpu_seconds() as spent:
            talk.hears(*[frame] * 20)
        cost = spent()
        assert talk.says() == ["SETTINGS ack"] * 20
        talk.wire.breaks()
        loop.turn()
        return cost

    assert least(lambda: move(256)) < 5 * least(lambda: move(1))


def test_a_slow_socket_is_not_given_all_that_windows_allow(talk: ServerTalk) -> None:
    talk.hears(settings(INITIAL_WINDOW_SIZE=2**30), window(0, 2**30))
    talk.says()
    talk.wire.stops_reading()

    for _ in range(20):
        answer(talk, 300_000)

    assert talk.wire.get_write_buffer_size() <= BURST + 100_000
    assert all(application.held for application in talk.applications)

    talk.wire.reads_again()
    talk.loop.turn()
    assert sum(sent([word], int(word.split()[1])) for word in talk.says()) == 20 * 300_000


def test_what_is_left_of_a_burst_follows_it(talk: ServerTalk) -> None:
    talk.hears(settings(INITIAL_WINDOW_SIZE=2**30), window(0, 2**30))

    answer(talk, 3 * BURST + 5)

    assert sent(talk.says(), 1) == 3 * BURST + 5


def test_what_waits_is_counted_and_bounded(loop: Loop) -> None:
    talks = [ServerTalk(loop) for _ in range(3)]
    chunk = 250_000
    for talk in talks:
        talk.hears(settings(INITIAL_WINDOW_SIZE=0))

    def fill(talk: ServerTalk) -> int:
        """As much as it may have waiting: then the one that waited longest ends."""
        first = answer(talk, chunk, end=False)
        while not first.cancelled:
            answer(talk, chunk, end=False)
            loop.turn()
        assert isinstance(first.exchange.error, Overloaded)
        assert "RST_STREAM 1 ENHANCE_YOUR_CALM" in talk.says()
        return talk.session.backlog.size

    half, third, quarter = (fill(talk) for talk in talks)

    limit = backlog.TOTAL_LIMIT
    assert half == pytest.approx(limit / 2, abs=2 * chunk)
    assert third == pytest.approx(limit / 4, abs=2 * chunk)
    assert quarter == pytest.approx(limit / 8, abs=2 * chunk)
    assert Backlog.total == half + third + quarter

    talks[0].wire.breaks()
    loop.turn()
    assert Backlog.total == third + quarter
    for talk in talks[1:]:
        talk.wire.breaks()
    loop.turn()
    assert all(talk.ended.all_once for talk in talks)


def test_windows_are_given_back_when_half_of_them_is_used(talk: ServerTalk) -> None:
    talk.asks(1, [(b":method", b"POST"), *GET[1:]], end=False)

    talk.hears(data(1, b"x" * 16_000), data(1, b"x" * 16_000))
    assert talk.says() == []
    talk.hears(data(1, b"x" * 600, padding=255))
    # Padding and its length are given back, too.
    assert talk.says() == ["WINDOW_UPDATE 1 32856"]


def test_windows_are_not_given_back_while_the_application_is_slow(talk: ServerTalk) -> None:
    talk.asks(1, [(b":method", b"POST"), *GET[1:]], end=False)
    exchange = talk.applications[0].exchange
    exchange.server.hold_request(True)

    talk.hears(*[data(1, b"x" * 16_000)] * 4)
    assert talk.says() == []
    exchange.server.hold_request(False)
    assert talk.says() == ["WINDOW_UPDATE 1 64000"]

    # A little at a time is not worth a frame; the client has more than half of its window left.
    exchange.server.hold_request(True)
    talk.hears(data(1, b"x" * 100))
    exchange.server.hold_request(False)
    assert talk.says() == []
