"""What is published, document by document, beside what a proxy acknowledges to have in force."""

from collections.abc import Collection, Iterator
from contextlib import aclosing
from typing import Any, Literal, TypeVar

import anyio
import msgspec

from common.bus import Bus
from common.contract import subjects
from common.contract.discovery import EndpointSlice, Service
from common.contract.events import Ack
from common.contract.topic import State
from common.names import ServiceName, WorkloadName

M = TypeVar("M", bound=msgspec.Struct)
Standing = Literal["in force", "behind", "ahead", "not followed", "gone", ""]
_AT_ONCE = 16


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A document, as it is published and as it is in force somewhere."""

    subject: str
    published: int
    """The revision; 0: nothing is, or is no more."""
    in_force: int | None = None
    """The revision that the proxy has; 0: it does not follow it. Absent: no proxy was asked for."""
    standing: Standing = ""
    message: Any = None
    """As it is published."""


async def read(bus: Bus, state: State[M], ack: Ack | None = None) -> Document:
    """A document. Raises BusUnavailable, InvalidMessage."""
    found = await bus.get(state)
    there = found is not None and not getattr(found.message, "deleted", False)
    published = found.revision if found is not None else 0
    in_force = ack.revisions.get(state.subject, 0) if ack else None
    return Document(
        subject=state.subject,
        published=published if there else 0,
        in_force=in_force,
        standing="" if in_force is None else _standing(published, in_force, there),
        message=found.message if there and found is not None else None,
    )


def _standing(published: int, in_force: int, there: bool) -> Standing:
    if not in_force:
        return "not followed" if there else "gone"
    if not there:
        return "gone"
    if in_force == published:
        return "in force"
    # A replica of the stream may be a moment behind what the proxy has heard.
    return "behind" if in_force < published else "ahead"


async def service(bus: Bus, name: ServiceName, ack: Ack | None = None) -> list[Document]:
    """A service's document, then those of its slices. Raises the same."""
    first = await read(bus, subjects.service(name), ack)
    found: Service | None = first.message
    names = found.slices if found is not None else ()
    return [first, *[await read(bus, subjects.endpoints(name, one), ack) for one in names]]


async def followed(bus: Bus, name: WorkloadName, ack: Ack) -> list[Document]:
    """Everything that a proxy follows, and what it must. Raises the same."""
    wanted = {
        state.subject: state
        for state in (subjects.trust(), subjects.settings(), subjects.workload(name))
    }
    wanted |= {state.subject: state for state in _known(ack.revisions.keys() - wanted.keys())}
    found: dict[str, Document] = {}
    limiter = anyio.CapacityLimiter(_AT_ONCE)

    async def fetch(state: State[Any]) -> None:
        async with limiter:
            found[state.subject] = await read(bus, state, ack)

    async with anyio.create_task_group() as group:
        for state in wanted.values():
            group.start_soon(fetch, state)
    return [found[subject] for subject in wanted]


async def slices(bus: Bus, namespace: str) -> list[EndpointSlice]:
    """All slices of the services of a namespace. Raises BusUnavailable."""
    every = subjects.endpoints(ServiceName(namespace, "every"), "every")
    subject = every.subject.replace(".every", ".*")
    found: list[EndpointSlice] = []
    async with aclosing(bus.scan(State(every.stream, subject, EndpointSlice))) as pages:
        async for page in pages:
            found += [one.message for one in page.values() if not one.message.deleted]
    return found


def _known(those: Collection[str]) -> Iterator[State[Any]]:
    """The documents on these subjects, in order; of a subject that is no document's, none."""
    for subject in sorted(those):
        for pattern in subjects.discovery_any():
            if _matches(pattern.subject, subject):
                yield State(pattern.stream, subject, pattern.message)


def _matches(pattern: str, subject: str) -> bool:
    words, found = pattern.split("."), subject.split(".")
    return len(words) == len(found) and all(
        a in ("*", b) for a, b in zip(words, found, strict=True)
    )


def endpoints(documents: Collection[Document]) -> Iterator[tuple[Document, EndpointSlice]]:
    """Those of the documents that are slices."""
    for document in documents:
        if isinstance(document.message, EndpointSlice):
            yield document, document.message
