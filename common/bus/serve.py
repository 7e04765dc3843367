"""Answering requests: typed endpoints shown by the NATS services framework, or one raw subject.

nats-py calls the handlers of a subscription one after the other, so each request is handed to a task of
its own; when as many are at work as are allowed, the next ones wait in their subscription.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import anyio
import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error
from nats.micro import add_service
from nats.micro.request import ERROR_CODE_HEADER, ERROR_HEADER, Request
from nats.micro.service import Service as MicroService

from common.bus.connection import Connection
from common.bus.listening import Subscription, headers
from common.contract.topic import Question
from common.errors import InvalidMessage, InvalidName, MeshError, Refused
from common.log import fields

log = logging.getLogger("common.bus")

Q = TypeVar("Q", bound=msgspec.Struct)
A = TypeVar("A", bound=msgspec.Struct)

_FINISH_SECONDS = 5.0
_REPLIES = ("_INBOX.", "_R_.")
"""Where answers go: inboxes, and where NATS waits for those that it passes on to another account."""


@dataclass(frozen=True, slots=True)
class Endpoint(Generic[Q, A]):
    """A question (its subject may hold wildcards) and who answers: called with the subject and the question.

    What the handler raises goes back to the asker: a MeshError with its reason and text, anything else
    as an internal error without details.
    """

    question: Question[Q, A]
    handler: Callable[[str, Q], Awaitable[A]]

    @property
    def name(self) -> str:
        """What `nats micro` shows: the last word of the subject that is no wildcard."""
        return [word for word in self.question.subject.split(".") if word not in "*>"][-1]


class Workers:
    """Runs handlers in tasks, a bounded number at a time."""

    def __init__(self, connection: Connection, concurrency: int) -> None:
        self._connection = connection
        self._free = anyio.Semaphore(concurrency)
        self._busy = 0
        self._idle = anyio.Event()

    async def hand_over(self, work: Callable[[], Awaitable[None]], subject: str) -> None:
        """Start `work` as soon as a worker is free, and return; what it raises is logged."""
        await self._free.acquire()
        self._busy += 1
        self._connection.spawn(self._run, work, subject)

    async def finish(self) -> None:
        """Wait until all that was begun is done, for five seconds at most."""
        with anyio.move_on_after(_FINISH_SECONDS):
            while self._busy:
                await self._idle.wait()

    async def _run(self, work: Callable[[], Awaitable[None]], subject: str) -> None:
        try:
            await work()
        except Exception:
            self._connection.stats.failed_handlers += 1
            log.exception("a handler failed", extra=fields(subject=subject))
        finally:
            self._free.release()
            self._busy -= 1
            if not self._busy:
                self._idle.set()
                self._idle = anyio.Event()


class Service:
    """A service of the mesh on the bus; `stop` ends it in good order."""

    def __init__(
        self,
        connection: Connection,
        workers: Workers,
        name: str,
        version: str,
        endpoints: Sequence[Endpoint[Any, Any]],
        queue: str,
    ) -> None:
        self.name = name
        self._connection = connection
        self._workers = workers
        self._version = version
        self._endpoints = endpoints
        self._queue = queue
        self._micro: MicroService | None = None
        self._stopped = False

    async def attach(self, client: Client) -> None:
        """Register with the services framework on this connection."""
        if self._stopped:
            return
        self._micro = await add_service(
            client, name=self.name, version=self._version, queue_group=self._queue
        )
        for endpoint in self._endpoints:
            await self._micro.add_endpoint(
                name=endpoint.name,
                subject=endpoint.question.subject,
                handler=self._handler(endpoint),
            )

    async def stop(self) -> None:
        """Take no more requests, finish those begun."""
        if self._stopped:
            return
        self._stopped = True
        self._connection.remove(self)
        if self._micro is not None:
            # A connection that has ended has taken its subscriptions with it.
            with suppress(Error, OSError):
                await _drain(self._micro)
        await self._workers.finish()

    def _handler(self, endpoint: Endpoint[Any, Any]) -> Callable[[Request], Awaitable[None]]:
        async def handle(request: Request) -> None:
            # The asker names where the answer goes, and we may write where it may not.
            if not request._msg.reply.startswith(_REPLIES):
                return

            async def work() -> None:
                payload, given = await self._answer(endpoint, request)
                # Whoever asked is told by silence if the connection is gone.
                with suppress(Error, OSError, ValueError):
                    await request.respond(payload, given)

            await self._workers.hand_over(work, request.subject)

        return handle

    async def _answer(
        self, endpoint: Endpoint[Any, Any], request: Request
    ) -> tuple[bytes, dict[str, str]]:
        try:
            question = endpoint.question.question.decode(request.data)
            answer = await endpoint.handler(request.subject, question)
            return endpoint.question.answer.encode(answer), {}
        except InvalidMessage as error:
            self._connection.stats.undecodable += 1
            return _error(error, "400")
        except InvalidName as error:
            return _error(error, "400")
        except MeshError as error:
            return _error(error, "403" if isinstance(error, Refused) else "500")
        except Exception:
            self._connection.stats.failed_handlers += 1
            log.exception("a handler failed", extra=fields(subject=request.subject))
            return b"", {ERROR_CODE_HEADER: "500", ERROR_HEADER: "internal error"}


def _error(error: MeshError, code: str) -> tuple[bytes, dict[str, str]]:
    return b"", {ERROR_CODE_HEADER: code, ERROR_HEADER: f"{error.reason}: {error}"}


def check(message: Msg) -> None:
    """Raise Refused, with what the service said, if this answer is an error."""
    given = headers(message)
    if ERROR_CODE_HEADER in given:
        raise Refused(given.get(ERROR_HEADER) or f"error {given[ERROR_CODE_HEADER]}")


async def _drain(micro: MicroService) -> None:
    """Ask for nothing more, and hand over what has arrived: nats-py's own `stop` would drop that."""
    for endpoint in micro._endpoints:
        await endpoint._subscription.drain()
    for subscription in micro._subscriptions.values():
        await subscription.drain()


class Answerer:
    """Answers raw requests on one subject; `stop` ends it in good order."""

    def __init__(
        self,
        connection: Connection,
        subject: str,
        handler: Callable[[bytes, Mapping[str, str]], Awaitable[bytes]],
        *,
        queue: str,
        concurrency: int,
    ) -> None:
        self._connection = connection
        self._handler = handler
        self._workers = Workers(connection, concurrency)
        self.subscription = Subscription(connection, subject, self._hear, queue=queue)

    async def stop(self) -> None:
        """Take no more requests, finish those begun."""
        await self.subscription.drain()
        await self._workers.finish()

    async def _hear(self, message: Msg) -> None:
        async def work() -> None:
            answer = await self._handler(message.data, headers(message))
            if message.reply and not await self._connection.publish(message.reply, answer):
                log.warning("an answer could not be sent", extra=fields(subject=message.subject))

        await self._workers.hand_over(work, message.subject)
