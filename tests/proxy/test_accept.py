"""Connections that arrive: counted, limited, described; and deadlines for all of them at once."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import pytest
from anyio.to_thread import run_sync

from proxy.transport.accept import Arrival, Listener, start_all
from proxy.transport.sweep import NEVER, Sweep
from tests.support.nats import until

pytestmark = pytest.mark.anyio


class Visitors:
    """A listener and who came."""

    def __init__(self, limit: int, host: str = "127.0.0.1") -> None:
        self.arrivals: list[Arrival] = []
        self.refused = 0
        self.listener = Listener(
            host, 0, limit=limit, arrived=self.arrivals.append, refused=self._refuse
        )

    def _refuse(self) -> None:
        self.refused += 1

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.listener.port))
        connection.settimeout(5)
        return connection


@asynccontextmanager
async def visitors(limit: int = 10) -> AsyncIterator[Visitors]:
    found = Visitors(limit)
    await found.listener.start()
    yield found
    await found.listener.stop()
    for arrival in found.arrivals:
        arrival.transport.abort()
    await anyio.sleep(0.01)


async def test_an_arrival_says_where_it_came_from_and_that_it_meant_us() -> None:
    async with visitors() as found:
        with found.connect() as client:
            await until(lambda: found.arrivals)

            arrival = found.arrivals[0]
            assert arrival.peer == client.getsockname()
            assert arrival.local == ("127.0.0.1", found.listener.port)
            assert arrival.original is None


async def test_one_more_than_the_limit_is_closed_at_once_and_counted() -> None:
    async with visitors(limit=2) as found:
        with found.connect(), found.connect():
            await until(lambda: len(found.arrivals) == 2)
            with found.connect() as third, suppress(ConnectionResetError):
                assert await run_sync(third.recv, 1) == b""
            assert (found.refused, found.listener.open) == (1, 2)

            found.arrivals[0].left()
            with found.connect():
                await until(lambda: len(found.arrivals) == 3)
        assert found.refused == 1


async def test_empty_waits_for_the_last_to_leave() -> None:
    async with visitors() as found:
        with found.connect(), found.connect():
            await until(lambda: len(found.arrivals) == 2)
            empty: list[bool] = []

            async def wait() -> None:
                await found.listener.empty()
                empty.append(True)

            async with anyio.create_task_group() as group:
                group.start_soon(wait)
                found.arrivals[0].left()
                await anyio.sleep(0.01)
                assert empty == []
                found.arrivals[1].left()
            assert empty == [True]


async def test_nobody_is_accepted_after_stop() -> None:
    async with visitors() as found:
        port = found.listener.port
        await found.listener.stop()
        await until(lambda: not _listens(port))


async def test_who_waited_to_be_accepted_is_accepted_by_stop() -> None:
    async with visitors() as found:
        # The event loop does not turn meanwhile, so the kernel keeps them.
        with found.connect() as first, found.connect() as second:
            await found.listener.stop()

            assert [a.peer for a in found.arrivals] == [first.getsockname(), second.getsockname()]
            assert found.listener.open == 2


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


async def test_an_address_that_is_taken_is_an_os_error() -> None:
    async with visitors() as found:
        other = Listener(
            "127.0.0.1",
            found.listener.port,
            limit=1,
            arrived=lambda _: None,
            refused=lambda: None,
        )
        with pytest.raises(OSError, match="in use"):
            await other.start()


class Timed:
    """Something with a deadline."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.expirations = 0

    def expired(self) -> None:
        self.expirations += 1


async def test_a_sweep_tells_those_whose_deadline_has_passed_and_no_others() -> None:
    sweep = Sweep()
    early, late, never = Timed(10.0), Timed(20.0), Timed(NEVER)
    for timed in (early, late, never):
        sweep.add(timed)

    sweep.look(9.9)
    assert [t.expirations for t in (early, late, never)] == [0, 0, 0]
    sweep.look(10.0)
    assert [t.expirations for t in (early, late, never)] == [1, 0, 0]
    early.deadline = NEVER
    sweep.look(1e9)
    assert [t.expirations for t in (early, late, never)] == [1, 1, 0]
    sweep.discard(late)
    sweep.discard(late)
    sweep.look(1e9)
    assert late.expirations == 1
    assert len(sweep) == 2


async def test_one_that_is_taken_along_by_another_is_not_told() -> None:
    sweep = Sweep()

    class Killer(Timed):
        def expired(self) -> None:
            super().expired()
            for timed in (first, second):
                sweep.discard(timed)

    first, second = Killer(1.0), Killer(1.0)
    sweep.add(first)
    sweep.add(second)
    sweep.look(2.0)

    assert first.expirations + second.expirations == 1


async def test_a_running_sweep_looks_every_second() -> None:
    sweep = Sweep()
    timed = Timed(0.0)
    sweep.add(timed)
    async with anyio.create_task_group() as group:
        group.start_soon(sweep.run)
        await until(lambda: timed.expirations)
        group.cancel_scope.cancel()


async def test_an_address_that_the_machine_does_not_have_is_left_out() -> None:
    here, nowhere = Visitors(1), Visitors(1, "192.0.2.1")

    listening = await start_all([nowhere.listener, here.listener])

    assert listening == [here.listener]
    here.connect().close()
    await until(lambda: here.arrivals)
    await here.listener.stop()
    here.arrivals[0].transport.abort()
    await until(lambda: here.arrivals[0].transport.is_closing())
    with pytest.raises(OSError, match="requested address"):
        await start_all([Visitors(1, "192.0.2.1").listener])


async def test_an_address_that_is_taken_is_no_reason_to_go_on_without_it() -> None:
    async with visitors() as found:
        taken = Listener(
            "127.0.0.1",
            found.listener.port,
            limit=1,
            arrived=found.arrivals.append,
            refused=lambda: None,
        )
        free, went_on = Visitors(1).listener, list[Listener]()
        with suppress(OSError):
            went_on = await start_all([free, taken])
        await free.stop()
    assert not went_on


async def test_every_address_is_both_families() -> None:
    found = Visitors(10, "*")
    await found.listener.start()
    assert found.listener._server is not None
    families = {door.family for door in found.listener._server.sockets}
    await found.listener.stop()

    assert socket.AF_INET in families
    assert (socket.AF_INET6 in families) == socket.has_dualstack_ipv6()
