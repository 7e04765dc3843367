"""The ledger of join tokens: over the bus and in memory the same promises; replayed tokens at a real door."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from common.clock import SystemClock
from common.contract import subjects
from common.contract.events import Event
from common.contract.subjects import TOKENS
from common.errors import BusUnavailable
from common.names import WorkloadName
from services.identity.spent import Ledger, Spent, Use
from tests.support.identity import nats
from tests.support.knock import ADMITTED, REFUSED, knock
from tests.support.ledger import Memory
from tests.support.nats import mesh as plain_mesh
from tests.support.nats import until, until_told

pytestmark = pytest.mark.anyio

WEB = WorkloadName("shop", "web-1")
FIRST = Use(host="10.1.2.3", time=1000.0)
SECOND = Use(host="10.1.2.4", time=1001.0)


@asynccontextmanager
async def two_of(kind: str) -> AsyncIterator[tuple[Ledger, Ledger]]:
    """The ledger as two replicas of identity see it."""
    if kind == "memory":
        memory = Memory()
        yield memory, memory
        return
    async with plain_mesh() as (_, bus):
        one, two = Spent(bus, SystemClock()), Spent(bus, SystemClock())
        await one.prepare()
        await two.prepare()
        yield one, two


@pytest.mark.parametrize("kind", ["memory", "bus"])
async def test_the_first_use_is_the_first_for_every_replica(kind: str) -> None:
    async with two_of(kind) as (one, two):
        assert await one.first("a", FIRST, 4600.0) == FIRST
        assert await two.first("a", SECOND, 4600.0) == FIRST
        assert await two.first("b", SECOND, 4600.0) == SECOND
        assert await one.first("a", SECOND, 4600.0) == FIRST


@pytest.mark.parametrize("kind", ["memory", "bus"])
async def test_of_many_at_once_one_is_first(kind: str) -> None:
    told: list[Use] = []

    async with two_of(kind) as (one, two):

        async def use(ledger: Ledger, number: int) -> None:
            told.append(await ledger.first("a", Use(host=f"10.1.2.{number}", time=1000.0), 4600.0))

        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(use, (one, two)[number % 2], number)

    assert len(told) == 20
    assert len(set(map(repr, told))) == 1


@pytest.mark.parametrize("name", ["", "*", ">", "a.b", "x" * 9000, "\n", "ü"])
async def test_an_id_may_be_anything(name: str) -> None:
    async with two_of("bus") as (one, two):
        assert await one.first(name, FIRST, 4600.0) == FIRST
        assert await two.first(name, SECOND, 4600.0) == FIRST
        assert await two.first(f"{name}!", SECOND, 4600.0) == SECOND


async def _is_first(ledger: Ledger, use: Use) -> bool:
    return await ledger.first("a", use, use.time + 60) == use


async def test_what_is_remembered_goes_when_the_token_ends() -> None:
    async with plain_mesh() as (_, bus):
        ledger = Spent(bus, SystemClock())
        await ledger.prepare()
        await ledger.first("a", FIRST, FIRST.time + 1)
        again = Use(host="10.1.2.9", time=1100.0)

        await until_told(lambda: _is_first(ledger, again))


async def test_a_bucket_that_was_lost_is_there_again() -> None:
    async with plain_mesh() as (_, bus), anyio.create_task_group() as group:
        ledger = Spent(bus, SystemClock(), again=0.05)
        group.start_soon(ledger.run)
        await ledger.first("a", FIRST, 4600.0)
        await bus.ask(f"$JS.API.STREAM.DELETE.KV_{TOKENS}", b"")

        assert await ledger.first("b", SECOND, 4600.0) == SECOND
        group.cancel_scope.cancel()


async def test_without_a_bus_nobody_can_tell(tmp_path: Path) -> None:
    async with plain_mesh() as (server, bus):
        ledger = Spent(bus, SystemClock(), patience=0.3)
        await ledger.prepare()
        await server.stop()

        with pytest.raises(BusUnavailable):
            await ledger.first("a", FIRST, 4600.0)


async def test_a_replayed_token_is_refused_also_after_a_restart_and_only_we_are_told_why(
    tmp_path: Path,
) -> None:
    async with nats(tmp_path) as mesh, mesh.role("operator") as operator:
        events: list[Event] = []
        await operator.listen(
            subjects.event("identity", "refused"), lambda _, event: events.append(event)
        )
        token = mesh.token(WEB, "web")
        async with mesh.identity():
            assert await knock(mesh, token) == ADMITTED
            assert await knock(mesh, token, host="127.0.0.2") == REFUSED
        async with mesh.identity(), mesh.identity():
            assert await knock(mesh, token, host="127.0.0.3") == REFUSED
            assert await knock(mesh, token) == ADMITTED
            await until(lambda: len(events) == 2)

        assert all("by another host" in event.message for event in events)
        assert {event.fields["host"] for event in events} == {"127.0.0.2", "127.0.0.3"}
        assert token not in mesh.identity_log()
        assert token.split(".")[2] not in mesh.identity_log()


async def test_nobody_but_identity_may_say_that_a_token_was_used(tmp_path: Path) -> None:
    async with nats(tmp_path) as mesh, mesh.identity():
        errors: list[str] = []
        for role in ("destination", "telemetry", "injector", "operator"):
            client = await mesh.client(seed=mesh.directory.user(role).seed, errors=errors)
            await client.publish(f"$KV.{TOKENS}.a", b"")
            await until(lambda: errors)
            assert "permissions violation for publish" in errors.pop()
            await client.close()
