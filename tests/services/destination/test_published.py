"""What is known of what is published: only what is other than was known is told."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from common.bus import Bus, Revision
from common.contract import subjects
from common.contract.discovery import Service
from common.contract.topic import Document, State
from common.names import ServiceName
from services.destination.keys import Key, ServiceKey
from services.destination.published import Published
from tests.support.nats import mesh

pytestmark = pytest.mark.anyio

MORE_THAN_A_PAGE = 400


def key(number: int) -> ServiceKey:
    return ServiceKey(ServiceName("shop", f"s{number}"))


def service(number: int, deleted: bool = False) -> Service:
    return Service(namespace="shop", name=f"s{number}", deleted=deleted)


def at(number: int, revision: int, deleted: bool = False) -> Revision[Document]:
    return Revision(service(number, deleted), revision)


async def put(
    bus: Bus, number: int, expected: int = 0, deleted: bool = False
) -> Revision[Document]:
    document = service(number, deleted)
    return at(number, await bus.put(key(number).state, document, expected=expected), deleted)


async def told(published: Published) -> set[Key]:
    async with aclosing(published.read()) as pages:
        return {found async for page in pages for found in page}


@asynccontextmanager
async def read_once(numbers: Iterable[int]) -> AsyncIterator[tuple[Bus, Published]]:
    """All these services are published, and that is known."""
    async with mesh() as (_, bus):
        for number in numbers:
            await put(bus, number)
        published = Published(bus)
        assert not published.known
        assert await told(published) == {key(number) for number in numbers}
        assert published.known
        yield bus, published


async def test_what_is_as_it_was_known_is_not_told_again() -> None:
    async with read_once(range(3)) as (_, published):
        assert await told(published) == set()
        assert len(published) == 3


async def test_what_somebody_else_wrote_is_told_and_what_he_took_away() -> None:
    async with read_once(range(4)) as (bus, published):
        revisions = {n: found.revision for n in range(4) if (found := published.get(key(n)))}
        changed = await put(bus, 1, revisions[1])
        await put(bus, 2, revisions[2], deleted=True)
        await put(bus, 9)

        assert await told(published) == {key(1), key(2), key(9)}
        assert published.get(key(1)) == changed
        assert published.get(key(2)) is None


async def test_what_a_stream_has_lost_is_told_and_known_no_more() -> None:
    async with read_once(range(2)) as (bus, published):
        await bus.ask(f"$JS.API.STREAM.PURGE.{subjects.STATE}", b"")

        assert await told(published) == {key(0), key(1)}
        assert len(published) == 0


async def test_what_is_written_during_a_reading_is_not_in_doubt() -> None:
    last = MORE_THAN_A_PAGE - 1
    async with read_once(range(MORE_THAN_A_PAGE)) as (bus, published):
        doubtful = set[Key]()
        async with aclosing(published.read()) as pages:
            doubtful.update(await anext(pages))
            for number in (0, last, 500):
                known = published.get(key(number))
                written = await put(bus, number, known.revision if known else 0)
                published.wrote(key(number), written)
            async for page in pages:
                doubtful.update(page)

        assert doubtful == set()
        assert len(published) == MORE_THAN_A_PAGE + 1


class Late(Bus):
    """A bus that answers every scan as a replica does that is late for ever."""

    held: dict[str, Revision[Any]]

    async def scan(self, state_: State[Any]) -> AsyncGenerator[dict[str, Revision[Any]], None]:
        """What it has held for so long; one document a page."""
        for subject, found in self.held.items():
            yield {subject: found}


async def test_a_replica_that_is_late_is_believed_of_what_nobody_wrote_meanwhile() -> None:
    bus = Late([], name="late")
    published = Published(bus)
    old = [at(number, 10 + number) for number in range(3)]
    bus.held = {key(n).state.subject: old[n] for n in range(3)}
    for number in range(3):
        published.wrote(key(number), at(number, 20 + number))

    doubtful = set[Key]()
    async with aclosing(published.read()) as pages:
        doubtful.update(await anext(pages))
        written = at(1, 30)
        published.wrote(key(1), written)
        async for page in pages:
            doubtful.update(page)

    assert doubtful == {key(0), key(2)}
    assert published.get(key(1)) == written
    assert published.get(key(2)) == old[2]
