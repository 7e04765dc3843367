"""One holder at a time, whatever happens to holders and to the bus."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import TaskGroup

from common.bus import Bus
from common.bus.keys import Key
from common.bus.streams import ensure
from common.contract.subjects import LEASES
from common.errors import RevisionConflict
from common.lease import Lease
from common.nats_server import NatsServer
from tests.support.nats import connected, mesh, until

pytestmark = pytest.mark.anyio


class Holders:
    """Who believes to hold the lease, now and ever."""

    def __init__(self) -> None:
        self.now: set[str] = set()
        self.history: list[str] = []
        self.most = 0

    @asynccontextmanager
    async def among(self, name: str) -> AsyncIterator[None]:
        self.now.add(name)
        self.history.append(name)
        self.most = max(self.most, len(self.now))
        try:
            yield
        finally:
            self.now.discard(name)


async def renewed_since(key: Key, before: int) -> int:
    """Wait until the key has another revision, and return that."""
    while True:
        revision = (await key.look()).revision
        if revision != before:
            return revision
        await anyio.sleep(0.02)


def contend(group: TaskGroup, bus: Bus, name: str, holders: Holders) -> anyio.CancelScope:
    """Let `name` contend for the lease until the scope is cancelled."""
    scope = anyio.CancelScope()

    async def hold() -> None:
        async with holders.among(name):
            await anyio.sleep_forever()

    async def run() -> None:
        with scope:
            await Lease(bus, "publisher", name, ttl=2).run(hold)

    group.start_soon(run)
    return scope


async def test_of_two_contenders_one_holds_and_the_other_follows_when_it_leaves() -> None:
    async with (
        mesh() as (server, bus),
        connected(server) as other,
        anyio.create_task_group() as group,
    ):
        holders = Holders()
        one = contend(group, bus, "one", holders)
        await until(lambda: holders.now == {"one"})
        contend(group, other, "two", holders)
        one.cancel()
        # Released, not run out: well before the time to live.
        await until(lambda: holders.now == {"two"}, seconds=1.5)

        assert holders.most == 1
        group.cancel_scope.cancel()


async def test_the_lease_of_a_holder_that_died_runs_out() -> None:
    async with mesh() as (server, bus), anyio.create_task_group() as group:
        # It took the lease and was never heard of again.
        await Key(bus, LEASES, "publisher").write("dead#1", expected=0, ttl=2)
        holders = Holders()
        async with connected(server) as other:
            contend(group, other, "two", holders)
            await until(lambda: holders.now == {"two"})
            group.cancel_scope.cancel()


async def test_a_lease_outlives_its_time_to_live_while_it_is_renewed() -> None:
    async with (
        mesh() as (server, bus),
        connected(server) as other,
        anyio.create_task_group() as group,
    ):
        holders = Holders()
        contend(group, bus, "one", holders)
        await until(lambda: holders.now == {"one"})
        contend(group, other, "two", holders)
        key = Key(bus, LEASES, "publisher")
        revision = (await key.look()).revision
        for _ in range(5):  # every half second
            revision = await renewed_since(key, revision)

        assert holders.history == ["one"]
        group.cancel_scope.cancel()


async def test_a_holder_that_lost_the_bus_stops_in_time_and_somebody_holds_after_it_is_back() -> (
    None
):
    async with (
        mesh() as (server, bus),
        connected(server) as other,
        anyio.create_task_group() as group,
    ):
        holders = Holders()
        contend(group, bus, "one", holders)
        await until(lambda: holders.now == {"one"})
        contend(group, other, "two", holders)
        await server.kill()
        await until(lambda: not holders.now, seconds=2)
        await server.start()
        await until(lambda: holders.now)

        assert holders.most == 1
        group.cancel_scope.cancel()


async def test_a_short_restart_of_the_server_does_not_cost_the_lease() -> None:
    async with mesh() as (server, bus), anyio.create_task_group() as group:
        holders = Holders()
        contend(group, bus, "one", holders)
        await until(lambda: holders.now == {"one"})
        key = Key(bus, LEASES, "publisher")
        before = (await key.look()).revision
        await server.restart()
        await until(lambda: bus.stats.connections == 2)
        with anyio.fail_after(5):
            await renewed_since(key, before)

        assert holders.history == ["one"]
        group.cancel_scope.cancel()


async def test_a_holder_whose_key_was_taken_stops_at_its_next_renewal() -> None:
    async with mesh() as (_, bus), anyio.create_task_group() as group:
        holders = Holders()
        contend(group, bus, "one", holders)
        await until(lambda: holders.now == {"one"})
        key = Key(bus, LEASES, "publisher")
        await take(key)
        await until(lambda: not holders.now, seconds=2)

        group.cancel_scope.cancel()


async def take(key: Key) -> None:
    """Take the key from whoever holds it, as only somebody without manners would."""
    while True:
        try:
            await key.write("thief#1", expected=(await key.look()).revision, ttl=10)
            return
        except RevisionConflict:
            pass  # it was just renewed


async def test_work_that_is_done_ends_the_contention_and_releases() -> None:
    async with mesh() as (_, bus):
        done: list[str] = []

        async def work() -> None:
            done.append("done")

        with anyio.fail_after(5):
            await Lease(bus, "publisher", "one").run(work)
            await Lease(bus, "publisher", "two").run(work)
        assert done == ["done", "done"]


async def test_what_work_raises_leaves_and_the_lease_is_released() -> None:
    async with mesh() as (_, bus):

        async def work() -> None:
            raise ZeroDivisionError

        with pytest.raises(ExceptionGroup) as raised:
            await Lease(bus, "publisher", "one").run(work)
        assert raised.group_contains(ZeroDivisionError)
        assert (await Key(bus, LEASES, "publisher").look()).value == ""


async def test_contending_before_there_is_a_bus_is_fine() -> None:
    async with NatsServer() as server:
        await server.stop()
        async with Bus([server.url], name="early") as bus, anyio.create_task_group() as group:
            holders = Holders()
            contend(group, bus, "one", holders)
            await server.start()
            await bus.wait_connected()
            await ensure(bus)
            await until(lambda: holders.now == {"one"})
            group.cancel_scope.cancel()
