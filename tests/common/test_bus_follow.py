"""Followers on a real nats-server that is stopped, killed and fed with garbage."""

import anyio
import pytest

from common.bus import Bus, Follower
from common.bus.streams import ensure
from common.contract import subjects
from common.contract.discovery import Address, Service
from common.contract.topic import Topic
from common.names import ServiceName
from common.nats_server import NatsServer
from tests.support.nats import connected, mesh, until

pytestmark = pytest.mark.anyio

WEB = subjects.service(ServiceName("shop", "web"))


def web(*slices: str, deleted: bool = False) -> Service:
    return Service(namespace="shop", name="web", slices=slices, deleted=deleted)


async def gone(bus: Bus) -> None:
    while True:
        if await bus.get(WEB) is None:
            return
        await anyio.sleep(0.02)


class Seen:
    """A follower of WEB and what it was told."""

    def __init__(self, bus: Bus) -> None:
        self.changes: list[tuple[Service | None, int]] = []
        self.follower: Follower[Service] = bus.follow(WEB, self._tell)

    def _tell(self, document: Service | None, revision: int) -> None:
        self.changes.append((document, revision))

    async def until(self, document: Service | None) -> None:
        await until(lambda: self.changes and self.changes[-1][0] == document)

    @property
    def strictly_newer(self) -> bool:
        revisions = [revision for document, revision in self.changes if document is not None]
        return revisions == sorted(set(revisions))


async def test_changes_are_told_in_order_and_once() -> None:
    async with mesh() as (server, bus), connected(server) as publisher:
        seen = Seen(bus)
        assert await seen.follower.wait_known(5)
        revisions = [0]
        for n in range(100):
            revisions.append(await publisher.put(WEB, web(f"{n}"), expected=revisions[-1]))
        await seen.until(web("99"))

        assert seen.changes[0] == (None, 0)
        assert [revision for _, revision in seen.changes[1:]] == revisions[1:]
        assert bus.stats.gaps == 0


async def test_a_follower_that_comes_later_is_told_what_is_there() -> None:
    async with mesh() as (_, bus):
        revision = await bus.put(WEB, web("a"), expected=0)
        seen = Seen(bus)
        await seen.until(web("a"))

        assert seen.changes == [(web("a"), revision)]


async def test_what_was_written_while_the_follower_was_away_is_told_when_it_is_back() -> None:
    async with mesh() as (server, bus), connected(server) as publisher:
        revision = await publisher.put(WEB, web("a"), expected=0)
        seen = Seen(bus)
        await seen.until(web("a"))

        await server.restart()
        # Whichever of the two is back first: nothing is lost.
        with anyio.fail_after(20):
            await publisher.wait_connected()
        await publisher.put(WEB, web("b"), expected=revision)
        await seen.until(web("b"))

        assert seen.strictly_newer


async def test_a_killed_server_with_its_store_resumes_where_it_was() -> None:
    async with mesh() as (server, bus):
        seen = Seen(bus)
        revision = 0
        for n in range(20):
            revision = await bus.put(WEB, web(f"{n}"), expected=revision)
        await server.kill()
        await until(lambda: not bus.connected.value)
        await server.start()
        with anyio.fail_after(20):
            await bus.wait_connected()

        got = await bus.get(WEB)
        assert got is not None
        assert got.revision == revision
        after = await bus.put(WEB, web("after"), expected=revision)
        await seen.until(web("after"))
        assert after > revision
        assert seen.strictly_newer


async def test_a_follower_outlives_the_loss_of_the_store_and_obeys_its_successor() -> None:
    async with mesh() as (_, bus):
        revision = await bus.put(WEB, web("a"), expected=0)
        seen = Seen(bus)
        await seen.until(web("a"))
        await bus.ask("$JS.API.STREAM.DELETE.tulle_state", b"")
        await ensure(bus)
        again = await bus.put(WEB, web("b"), expected=0)
        await seen.until(web("b"))

        assert again > revision


async def test_a_tombstone_is_told_and_after_its_time_there_is_nothing() -> None:
    async with mesh() as (_, bus):
        seen = Seen(bus)
        first = await bus.put(WEB, web("a"), expected=0)
        tomb = await bus.put(WEB, web(deleted=True), expected=first, ttl=1)
        await seen.until(web(deleted=True))

        with anyio.fail_after(10):
            await gone(bus)
        again = await bus.put(WEB, web("b"), expected=0)
        await seen.until(web("b"))
        assert again > tomb


async def test_garbage_is_counted_told_once_and_stops_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with mesh() as (_, bus):
        seen = Seen(bus)
        assert await seen.follower.wait_known(5)
        for _ in range(3):
            await bus.ask(WEB.written, b'{"namespace": "shop", "name": 7}')
        await until(lambda: bus.stats.undecodable >= 3)
        garbage = await bus.connection.request(WEB.written, b"\xff{", timeout=2)
        assert b"seq" in garbage.data

        raw = Topic(WEB.written, Address)
        assert not await bus.publish(raw, Address(address="x" * 2_000_000))
        await bus.ask(WEB.written, WEB.encode(web("a")))
        await seen.until(web("a"))

        told = [r for r in caplog.records if r.message == "message not understood"]
        assert len(told) == 2
        assert "$.name" in str(told[0].fields)  # type: ignore[attr-defined]
        assert WEB.subject in str(told[0].fields)  # type: ignore[attr-defined]


async def test_what_does_not_come_from_the_stream_is_not_obeyed() -> None:
    async with mesh() as (_, bus):
        seen = Seen(bus)
        assert await seen.follower.wait_known(5)

        assert await bus.publish(WEB, web("forged"))
        await until(lambda: bus.stats.undecodable == 1)
        assert seen.changes == [(None, 0)]


async def test_a_handler_that_fails_does_not_stop_its_follower() -> None:
    async with mesh() as (_, bus):
        seen: list[int] = []

        def fail(document: Service | None, revision: int) -> None:
            seen.append(revision)
            raise ZeroDivisionError

        follower = bus.follow(WEB, fail)
        assert await follower.wait_known(5)
        revision = await bus.put(WEB, web("a"), expected=0)
        await until(lambda: seen == [0, revision])

        assert bus.stats.failed_handlers == 2


async def test_a_closed_follower_is_told_nothing_more() -> None:
    async with mesh() as (_, bus):
        seen, other = Seen(bus), Seen(bus)
        assert await seen.follower.wait_known(5)
        seen.follower.close()
        await bus.put(WEB, web("a"), expected=0)
        await other.until(web("a"))

        assert seen.changes == [(None, 0)]


async def test_following_before_there_is_a_server_is_fine() -> None:
    async with NatsServer() as server:
        await server.stop()
        async with Bus([server.url], name="early") as bus:
            seen = Seen(bus)
            assert not await seen.follower.wait_known(0.05)
            await server.start()
            async with connected(server) as publisher:
                from common.bus.streams import ensure

                await ensure(publisher)
                await publisher.put(WEB, web("a"), expected=0)
            await seen.until(web("a"))
