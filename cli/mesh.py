"""The mesh that the command line names, and its bus as operator, or as a person with a folder of their own."""

import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

import anyio
import click
import msgspec

from cli.options import named_way
from cli.ways import Entry, Way, entry
from common.bus import Bus
from common.contract.topic import Question
from common.errors import BusUnavailable, InvalidCertificate, InvalidSettings
from common.x509 import bus_context
from services.identity.directory import MeshDirectory

T = TypeVar("T")
Q = TypeVar("Q", bound=msgspec.Struct)
A = TypeVar("A", bound=msgspec.Struct)
_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 5.0


def named_mesh() -> Way:
    """How to reach the mesh that the command line names. Raises UsageError if it names none."""
    return named_way()


@asynccontextmanager
async def operator_bus(
    mesh: Way | MeshDirectory, on_trouble: Callable[[str], None] | None = None
) -> AsyncIterator[Bus]:
    """The bus, connected as operator, or as the person whose folder this is.

    Later trouble is told to `on_trouble`, or on standard error. Raises InvalidSettings, or BusUnavailable
    after five seconds; of a cluster also KubernetesUnavailable and KubernetesRefused.
    """
    way = mesh if isinstance(mesh, Way) else Way(mesh)
    async with entry(way) as found, entered(found, on_trouble) as bus:
        yield bus


@asynccontextmanager
async def entered(
    way: Entry, on_trouble: Callable[[str], None] | None = None
) -> AsyncIterator[Bus]:
    """The same, for who has a way in already. Raises InvalidSettings, BusUnavailable."""
    _trusting(way)
    with _trouble() as trouble:
        async with Bus(
            way.servers,
            name="tulle",
            tls=lambda: _trusting(way),
            nkey_seed=way.seed,
            inbox_prefix=way.inbox,
        ) as bus:
            with anyio.move_on_after(_CONNECT_SECONDS):
                await bus.wait_connected()
            if not bus.connected.value:
                raise BusUnavailable(
                    f"{way.where}: no connection within {_CONNECT_SECONDS:g} s "
                    f"({trouble.last or 'no answer'}); expected the mesh's NATS server there"
                )
            trouble.tell = on_trouble or (lambda text: click.echo(f"tulle: {text}", err=True))
            yield bus


def _trusting(way: Entry) -> ssl.SSLContext:
    try:
        return bus_context(way.anchors())
    except InvalidCertificate as error:
        raise InvalidSettings(f"{way.anchors_from}: {error}") from None


async def ask(bus: Bus, question: Question[Q, A], request: Q, service: str = "telemetry") -> A:
    """Ask a service. Raises BusUnavailable that says what to look at, Refused or InvalidMessage."""
    try:
        return await bus.request(question, request, timeout=_ANSWER_SECONDS)
    except BusUnavailable as error:
        raise BusUnavailable(f"{error}; is {service} running?") from None


def run(main: Callable[[], Awaitable[T]]) -> T:
    """Run a command's coroutine; of a group of errors the first stands for all."""
    try:
        return anyio.run(main, backend_options={"use_uvloop": True})
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None


class _Trouble(logging.Handler):
    """Hears what the bus logs: keeps it until there is somebody to tell."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.addFilter(logging.Filter("common"))  # what third parties log is no help to a person
        self.last = ""
        self.tell: Callable[[str], None] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        values = getattr(record, "fields", {})
        self.last = ": ".join(
            [record.getMessage(), *([values["error"]] if "error" in values else [])]
        )
        if self.tell is not None:
            self.tell(self.last)


@contextmanager
def _trouble() -> Iterator[_Trouble]:
    """Trouble comes to the handler that this yields, and to no log."""
    handler, root = _Trouble(), logging.getLogger()
    before, root.handlers[:] = list(root.handlers), [handler]
    try:
        yield handler
    finally:
        root.handlers[:] = before
