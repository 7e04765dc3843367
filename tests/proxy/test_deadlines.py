"""Deadlines: kept to a twentieth of a second, at the price of one timer; and what becomes of a call."""

import asyncio
import heapq
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.contract.discovery import FailureAccrual
from proxy.codec.heads import UNKNOWN, BadMessage, Headers, RequestHead, ResponseHead
from proxy.decide.grpc import read_timeout, timeout_of
from proxy.session.deadlines import HORIZON, TICK, Deadline, Deadlines
from proxy.session.exchange import Exchange
from proxy.session.host import Server
from proxy.session.http2_server import Http2Server
from proxy.transport.stream import Stream
from proxy.transport.sweep import Sweep
from tests.support.nats import until
from tests.support.outbound import Choice, Heard, choice

# What a call may take.


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"1H", 3600.0),
        (b"2M", 120.0),
        (b"3S", 3.0),
        (b"250m", 0.25),
        (b"1500u", 0.0015),
        (b"99999999n", 0.099999999),
        (b"99999999H", 99999999 * 3600.0),
        (b"0S", 0.0),
        (b"00000001S", 1.0),
    ],
)
def test_a_timeout_is_a_number_and_a_unit(value: bytes, seconds: float) -> None:
    assert read_timeout(value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    [b"", b"S", b"1", b"1s", b"1h", b"-1S", b"+1S", b"1.5S", b"123456789S", b"1 S", b"1SS", b" 1S"],
)
def test_a_malformed_timeout_is_as_good_as_none(value: bytes) -> None:
    assert read_timeout(value) is None


def test_non_ascii_digits_are_no_digits() -> None:
    assert read_timeout("²S".encode("latin-1")) is None


def test_a_head_is_looked_into_once_and_a_replaced_head_anew() -> None:
    head = call(b"1S").replaced()

    assert timeout_of(head) == 1.0
    head.headers = []
    assert timeout_of(head) == 1.0
    assert timeout_of(head.replaced()) is None


# The wheel.


class ManualLoop:
    """An event loop's clock and timers, in the test's hands; its clock has steps of a millisecond."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.wakes = 0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, call, (), cast(Any, self))
        heapq.heappush(self._timers, (round(when, 3), len(self._timers), handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def get_debug(self) -> bool:
        return False

    @property
    def armed(self) -> int:
        """Timers that will still go off."""
        return sum(not handle.cancelled() for _, _, handle in self._timers)

    def advance(self, seconds: float) -> None:
        until = round(self.now + seconds, 3)
        while self._timers and self._timers[0][0] <= until:
            when, _, handle = heapq.heappop(self._timers)
            self.now = max(self.now, when)
            if not handle.cancelled():
                self.wakes += 1
                handle._run()
        self.now = until


def wheel() -> tuple[Deadlines, ManualLoop]:
    loop = ManualLoop()
    return Deadlines(cast(asyncio.AbstractEventLoop, loop)), loop


moments = st.one_of(
    st.integers(0, 300).map(lambda ms: ms / 1000), st.integers(0, 200_000).map(lambda ms: ms / 1000)
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), moments),
        st.tuples(st.just("discard"), st.integers(0, 10)),
        st.tuples(st.just("advance"), moments),
    ),
    max_size=60,
)


@given(steps)
def test_none_is_early_none_is_late_and_none_that_was_taken_back_comes(
    history: list[tuple[str, Any]],
) -> None:
    deadlines, loop = wheel()
    pending: dict[int, tuple[float, Deadline]] = {}
    number = 0

    def called(which: int) -> Callable[[], None]:
        def call() -> None:
            at, _ = pending.pop(which)
            assert at - 0.0011 <= loop.now <= at + TICK + 0.0011

        return call

    for what, value in history:
        if what == "add":
            number += 1
            pending[number] = (loop.now + value, deadlines.add(loop.now + value, called(number)))
        elif what == "advance":
            loop.advance(value)
        elif pending:
            which = sorted(pending)[value % len(pending)]
            deadlines.discard(pending.pop(which)[1])
        assert len(deadlines) == len(pending)
        assert all(at + TICK + 0.0011 >= loop.now for at, _ in pending.values())
    loop.advance(500.0)

    assert not pending
    assert len(deadlines) == 0
    assert not loop.armed
    assert not deadlines._places
    assert not deadlines._order


def test_those_of_the_same_twentieth_cost_one_wake() -> None:
    deadlines, loop = wheel()
    called: list[int] = []
    for number in range(1000):
        deadlines.add(loop.now + 0.51 + number / 100_000, lambda: called.append(1))

    loop.advance(1.0)

    assert len(called) == 1000
    assert loop.wakes <= 2


def test_steady_traffic_that_meets_its_deadlines_costs_no_memory_and_few_wakes() -> None:
    deadlines, loop = wheel()
    for _ in range(100_000):
        deadline = deadlines.add(loop.now + 3600.0, lambda: None)
        loop.advance(0.01)
        deadlines.discard(deadline)

    assert len(deadlines._places) <= HORIZON / TICK + 2
    assert loop.wakes <= 1000.0 / TICK


def test_nothing_to_wait_for_means_no_timer() -> None:
    deadlines, loop = wheel()
    for number in range(10):
        deadlines.discard(deadlines.add(loop.now + 0.2 * number, lambda: None))

    loop.advance(1000.0)

    assert loop.wakes == 1
    assert not loop.armed


def test_a_call_may_add_and_take_back_others() -> None:
    deadlines, loop = wheel()
    called: list[str] = []
    second = deadlines.add(loop.now + 0.1, lambda: called.append("second"))

    def first() -> None:
        called.append("first")
        deadlines.discard(second)
        deadlines.add(loop.now + 0.1, lambda: called.append("third"))

    deadlines.add(loop.now + 0.0999, first)
    deadlines.discard(second)
    second = deadlines.add(loop.now + 0.1, lambda: called.append("second"))
    loop.advance(0.3)

    assert called == ["first", "third"]


# Calls, over real connections to an endpoint that speaks HTTP/2.

GRPC = (b"content-type", b"application/grpc")
BEGIN = ResponseHead(200, [GRPC], body=UNKNOWN)


def call(timeout: bytes) -> RequestHead:
    return RequestHead(
        b"POST", b"/x.Y/Z", b"web", [GRPC, (b"grpc-timeout", timeout)], protocol="grpc"
    )


class GrpcPlace:
    """An endpoint that does with calls what `does` says; by default it lets them wait."""

    def __init__(self, does: Callable[[Exchange], None] = lambda _: None) -> None:
        self._does = does
        self.calls: list[Exchange] = []
        self.cancelled = 0
        self.port = 0

    def serve(self, exchange: Exchange) -> None:
        self.calls.append(exchange)
        exchange.ended = self._ended
        self._does(exchange)

    def _ended(self, exchange: Exchange) -> None:
        self.cancelled += exchange.error is not None

    def rejected(self, error: BadMessage) -> None:
        raise error

    def closed(self, server: Server, *, detached: bool) -> None:
        pass

    def tunnel_closed(self) -> None:
        pass


class Door(asyncio.Protocol):
    def __init__(self, place: GrpcPlace, sweep: Sweep) -> None:
        self._place = place
        self._sweep = sweep

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        Http2Server(cast(Stream, transport), self._place, self._sweep).start()


@asynccontextmanager
async def grpc(
    does: Callable[[Exchange], None] = lambda _: None, accrual: FailureAccrual | None = None
) -> AsyncIterator[tuple[Choice, GrpcPlace]]:
    place = GrpcPlace(does)
    async with choice() as proxy:
        server = await proxy.loop.create_server(lambda: Door(place, proxy.sweep), "127.0.0.1", 0)
        proxy.endpoints(server.sockets[0].getsockname()[1], accrual=accrual)
        try:
            yield proxy, place
        finally:
            server.close()
            for exchange in place.calls:
                exchange.request_lost()


def ask(proxy: Choice, timeout: bytes | None) -> tuple[Exchange, Heard]:
    headers: Headers = [GRPC] if timeout is None else [GRPC, (b"grpc-timeout", timeout)]
    return proxy.send(b"POST", protocol="grpc", headers=headers)


@pytest.mark.anyio
async def test_a_call_that_takes_too_long_is_told_so_and_its_endpoint_let_off() -> None:
    async with grpc() as (proxy, place):
        began = proxy.loop.time()
        _, heard = ask(proxy, b"200m")
        with anyio.fail_after(5):
            await heard.over.wait()
        took = proxy.loop.time() - began

        assert heard.head is not None
        assert heard.status == 200
        assert heard.head.get(b"grpc-status") == b"4"
        assert heard.error == "timeout"
        assert took >= 0.199
        await until(lambda: place.cancelled == 1, 5)
        (series,) = proxy.counters.all()
        assert series.errors == {"timeout": 1}


@pytest.mark.anyio
async def test_what_has_begun_ends_with_the_status_in_its_trailers() -> None:
    async with grpc(lambda exchange: exchange.response(BEGIN, b"first", False, 1.0)) as (
        proxy,
        place,
    ):
        exchange, heard = ask(proxy, b"200m")
        with anyio.fail_after(5):
            await heard.over.wait()

        assert heard.body == b"first"
        assert dict(heard.trailers or [])[b"grpc-status"] == b"4"
        assert heard.error == "timeout"
        assert exchange.grpc_status == 4
        await until(lambda: place.cancelled == 1, 5)


@pytest.mark.anyio
async def test_a_client_that_does_not_read_is_broken_off_instead() -> None:
    async with grpc(lambda exchange: exchange.response(BEGIN, b"first", False, 1.0)) as (
        proxy,
        place,
    ):
        exchange, heard = ask(proxy, b"200m")
        await until(lambda: heard.status == 200, 5)
        exchange.hold_response(True)
        with anyio.fail_after(5):
            await heard.over.wait()

        assert heard.broken_off == 8
        await until(lambda: place.cancelled == 1, 5)


def at_once(exchange: Exchange) -> None:
    exchange.response(
        ResponseHead(200, [GRPC, (b"grpc-status", b"0")]), b"", True, exchange.started_at
    )


@pytest.mark.anyio
@pytest.mark.parametrize("timeout", [b"10S", b"nonsense", None])
async def test_a_call_that_is_answered_in_time_leaves_nothing_behind(timeout: bytes | None) -> None:
    async with grpc(at_once) as (proxy, _):
        for _ in range(10):
            exchange, heard = ask(proxy, timeout)
            assert proxy.requests.limited == (timeout == b"10S")
            with anyio.fail_after(5):
                await heard.over.wait()
            assert exchange.grpc_status == 0
            assert proxy.requests.limited == 0


@pytest.mark.anyio
async def test_a_malformed_timeout_does_not_end_a_call() -> None:
    async with grpc() as (proxy, place):
        exchange, heard = ask(proxy, b"1x")
        await until(lambda: place.calls, 5)
        await anyio.sleep(3 * TICK)

        assert not heard.over.is_set()
        exchange.request_lost()


@pytest.mark.anyio
async def test_waiting_for_an_endpoint_counts() -> None:
    async with grpc() as (proxy, _):
        proxy.endpoints()
        _, heard = ask(proxy, b"100m")
        with anyio.fail_after(1):
            await heard.over.wait()

        assert heard.error == "timeout"
        assert proxy.requests.waiting == 0


@pytest.mark.anyio
async def test_an_endpoint_that_never_answers_is_left_alone_after_so_many_deadlines() -> None:
    rules = FailureAccrual(max_failures=3, min_penalty=60.0)
    async with grpc(accrual=rules) as (proxy, _):
        for _ in range(3):
            _, heard = ask(proxy, b"50m")
            with anyio.fail_after(5):
                await heard.over.wait()

        assert proxy.told == ["ejected"]


FAULTS = {4: True, 7: True, 13: True, 14: True, 15: True, 0: False, 2: False, 5: False, 8: False}


@pytest.mark.anyio
@pytest.mark.parametrize(("status", "counts"), FAULTS.items())
async def test_which_statuses_speak_against_an_endpoint(status: int, counts: bool) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.response(BEGIN, b"", False, exchange.started_at)
        exchange.response_end([(b"grpc-status", b"%d" % status)])

    async with grpc(answer, FailureAccrual(max_failures=1, min_penalty=60.0)) as (proxy, _):
        _, heard = ask(proxy, None)
        with anyio.fail_after(5):
            await heard.over.wait()

        assert proxy.told == (["ejected"] if counts else [])


@pytest.mark.anyio
async def test_a_stream_that_goes_well_lets_its_endpoint_in_before_it_ends() -> None:
    """A service of nothing but endless streams would stay shut out else."""
    well = False

    def does(exchange: Exchange) -> None:
        if well:
            exchange.response(BEGIN, b"news", False, exchange.started_at)
        else:
            exchange.response(
                ResponseHead(200, [GRPC, (b"grpc-status", b"14")]), b"", True, exchange.started_at
            )

    rules = FailureAccrual(max_failures=1, min_penalty=0.05, jitter_ratio=0.0)
    async with grpc(does, rules) as (proxy, place):
        good = GrpcPlace(at_once)
        other = await proxy.loop.create_server(lambda: Door(good, proxy.sweep), "127.0.0.1", 0)
        first = proxy.candidates()[0].port
        proxy.endpoints(first, other.sockets[0].getsockname()[1], accrual=rules)
        (broken,) = [c for c in proxy.candidates() if c.port == first]
        broken.failed(proxy.loop.time(), proxy.loop.time())
        well = True
        streams = []
        with anyio.fail_after(5):
            while "readmitted" not in proxy.told:
                streams.append(ask(proxy, None)[0])
                await anyio.sleep(0.02)

        assert place.calls
        assert not any(exchange.done for exchange in place.calls)
        for exchange in streams:
            exchange.request_lost()
        other.close()


class Front:
    """Where clients of the proxy connect: their requests go to its backend."""

    def __init__(self, proxy: Choice) -> None:
        self._proxy = proxy

    def connection(self) -> asyncio.Protocol:
        return Door(cast(GrpcPlace, self), self._proxy.sweep)

    def serve(self, exchange: Exchange) -> None:
        self._proxy.exchanges.append(exchange)
        self._proxy.requests.serve(exchange, self._proxy.backend)

    def rejected(self, error: BadMessage) -> None:
        raise error

    def closed(self, server: Server, *, detached: bool) -> None:
        pass


@pytest.mark.anyio
@pytest.mark.parametrize("begun", [False, True])
async def test_a_client_that_nobody_here_wrote_hears_the_status(begun: bool) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed: apt-get install curl")

    def does(exchange: Exchange) -> None:
        if begun:
            exchange.response(BEGIN, b"first", False, exchange.started_at)

    async with grpc(does) as (proxy, place):
        front = Front(proxy)
        server = await proxy.loop.create_server(front.connection, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        options = ["-sS", "-i", "--http2-prior-knowledge", "--max-time", "5", "-d", "x"]
        options += ["-H", "content-type: application/grpc", "-H", "grpc-timeout: 300m"]
        done = await anyio.run_process(
            ["curl", *options, f"http://127.0.0.1:{port}/x.Y/Z"],
            stderr=subprocess.STDOUT,
            check=False,
        )
        server.close()

        said = done.stdout.decode("latin-1")
        assert done.returncode == 0, said
        assert said.startswith("HTTP/2 200")
        assert "grpc-status: 4" in said
        assert "tulle-error: timeout" in said
        assert ("first" in said) == begun
        await until(lambda: place.cancelled == 1, 5)
