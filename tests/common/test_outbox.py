"""What is put into an outbox is heard once and in order, whenever the bus comes back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
import pytest

from common.bus import Bus, Outbox
from common.contract import subjects
from common.contract.events import Event
from common.contract.topic import Topic
from tests.support.nats import until

pytestmark = pytest.mark.anyio
TOPIC = subjects.event("destination", "accepted")
LIMIT = 3


class Ear:
    """As much of a bus as an outbox needs; `deaf` times it cannot publish although it is connected."""

    def __init__(self, deaf: int = 0) -> None:
        self.connected = anyio.Event()
        self.deaf = deaf
        self.heard: list[str] = []

    async def wait_connected(self) -> None:
        await self.connected.wait()

    async def publish(self, topic: Topic[Any], message: Event) -> bool:
        assert topic is TOPIC
        self.deaf -= 1
        if self.deaf >= 0:
            return False
        self.heard.append(message.message)
        return True


def put(outbox: Outbox, *words: str) -> None:
    for word in words:
        event = Event(component="destination", what="accepted", message=word, time=0.0)
        outbox.put(TOPIC, event)


@asynccontextmanager
async def running(outbox: Outbox) -> AsyncIterator[None]:
    async with anyio.create_task_group() as group:
        group.start_soon(outbox.run)
        yield
        group.cancel_scope.cancel()


async def test_what_waits_for_the_bus_is_heard_in_order_when_it_is_back() -> None:
    ear = Ear()
    outbox = Outbox(cast(Bus, ear), LIMIT)
    async with running(outbox):
        put(outbox, "a", "b")
        await anyio.wait_all_tasks_blocked()
        assert ear.heard == []

        ear.connected.set()
        await until(lambda: len(ear.heard) == 2, 5)
        put(outbox, "c")
        await until(lambda: len(ear.heard) == 3, 5)

    assert ear.heard == ["a", "b", "c"]


async def test_of_too_many_the_newest_are_heard() -> None:
    ear = Ear()
    outbox = Outbox(cast(Bus, ear), LIMIT)
    put(outbox, "a", "b", "c", "d", "e")
    ear.connected.set()
    async with running(outbox):
        await until(lambda: len(ear.heard) == LIMIT, 5)

    assert ear.heard == ["c", "d", "e"]


async def test_what_could_not_be_published_is_published_again() -> None:
    ear = Ear(deaf=2)
    outbox = Outbox(cast(Bus, ear), LIMIT)
    ear.connected.set()
    async with running(outbox):
        put(outbox, "a", "b")
        await until(lambda: len(ear.heard) == 2, 5)

    assert ear.heard == ["a", "b"]
