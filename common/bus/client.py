"""The bus as the rest of Tulle sees it."""

import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio
import msgspec
from anyio.abc import TaskGroup
from nats.aio.msg import Msg

from common.bus import serve, state
from common.bus.admission import Admission
from common.bus.connection import Connection, Stats
from common.bus.follow import Follower, Followers
from common.bus.gather import gather
from common.bus.listening import Subscription, decoding, headers
from common.bus.serve import Answerer, Endpoint, Service, Workers
from common.bus.state import Revision
from common.clock import Clock, SystemClock
from common.contract.topic import Question, State, Topic
from common.errors import InvalidMessage
from common.latest import Latest

M = TypeVar("M", bound=msgspec.Struct)
Q = TypeVar("Q", bound=msgspec.Struct)
A = TypeVar("A", bound=msgspec.Struct)

Sighting = tuple[str, bytes, Mapping[str, str]]
_SNIFF_BUFFER = 4096
_LEAVE_SECONDS = 7.0


class Bus:
    """A connection to NATS for as long as the context lasts, made in the background and for ever again.

    Entering waits for nothing. `tls`, `token` and `nkey_seed` are asked afresh for each connection. What is
    published is said below `says_below`, and heard without it (see subjects.SAID). While there is no
    connection: what is published is dropped (and counted), what is asked raises BusUnavailable, and
    what was listened to, served or followed goes on by itself once it is back.
    """

    def __init__(
        self,
        servers: Sequence[str],
        *,
        name: str,
        tls: Callable[[], ssl.SSLContext] | None = None,
        token: Callable[[], str] | None = None,
        nkey_seed: Callable[[], str] | None = None,
        inbox_prefix: str = "_INBOX",
        says_below: str = "",
        clock: Clock | None = None,
    ) -> None:
        self.connection = Connection(
            servers,
            name=name,
            admission=Admission(tls, token, nkey_seed),
            inbox_prefix=inbox_prefix,
            clock=clock or SystemClock(),
        )
        self._says_below = says_below
        self._followers = Followers(self.connection)
        self._services: list[Service | Answerer] = []
        self._group: TaskGroup | None = None

    @property
    def connected(self) -> Latest[bool]:
        """Whether there is a connection now."""
        return self.connection.connected

    @property
    def stats(self) -> Stats:
        """What was counted since the start."""
        return self.connection.stats

    async def __aenter__(self) -> Self:
        self._group = await anyio.create_task_group().__aenter__()
        self.connection.start(self._group)
        self.connection.spawn(self._followers.run)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._group is None:
            return
        with anyio.move_on_after(_LEAVE_SECONDS, shield=True):
            for service in self._services:
                await service.stop()
        self._group.cancel_scope.cancel()
        # Our tasks raise nothing, so an error of the body leaves as itself, not in an exception group.
        await self._group.__aexit__(None, None, None)

    async def wait_connected(self) -> None:
        """Wait until there is a connection."""
        await self.connected.wait_for(bool)

    async def publish(self, topic: Topic[M], message: M) -> bool:
        """Say it to whoever listens; False, and counted, if there was no way to. Never raises or waits."""
        subject = f"{self._says_below}{topic.subject}"
        return await self.connection.publish(subject, topic.encode(message))

    async def put(
        self, state_: State[M], message: M, *, expected: int, ttl: float | None = None
    ) -> int:
        """Write a retained document over its revision `expected` (0: nothing is there).

        Returns its revision. With `ttl`, a tombstone's, it is removed after so many seconds (one at
        least), and then 0 is expected again. Raises RevisionConflict if somebody else wrote meanwhile
        or a tombstone ran out: `get` tells. Raises BusUnavailable: then it may or may not be written.
        """
        return await state.store(
            self.connection,
            state_.written,
            state_.encode(message),
            stream=state_.stream,
            expected=expected,
            ttl=ttl,
        )

    async def get(self, state_: State[M]) -> Revision[M] | None:
        """The retained document, perhaps a moment old; None if nothing is there.

        Raises BusUnavailable or InvalidMessage.
        """
        return await state.get(self.connection, state_)

    def scan(self, state_: State[M]) -> AsyncGenerator[dict[str, Revision[M]], None]:
        """All documents under a subject with wildcards, a page at a time; for publishers.

        Each page is by `tulle.v1.…` subject. What does not decode is counted, logged and left out; one
        written meanwhile may be missing or old. Raises BusUnavailable.
        """
        return state.scan(self.connection, state_)

    async def request(self, question: Question[Q, A], message: Q, *, timeout: float = 2.0) -> A:
        """Ask a service; raises BusUnavailable, Refused (it said no) or InvalidMessage (strange answer)."""
        reply = await self.connection.request(
            question.subject, question.question.encode(message), timeout=timeout
        )
        serve.check(reply)
        try:
            return question.answer.decode(reply.data)
        except InvalidMessage as error:
            raise InvalidMessage(f"{question.subject}: {error}") from None

    async def ask(self, subject: str, payload: bytes, *, timeout: float = 2.0) -> bytes:
        """Ask with raw bytes, for APIs that are not ours; raises BusUnavailable."""
        return (await self.connection.request(subject, payload, timeout=timeout)).data

    async def say(self, subject: str, payload: bytes, *, reply: str = "") -> bool:
        """Say it with raw bytes, for APIs that are not ours; as `publish`."""
        return await self.connection.publish(subject, payload, reply=reply)

    async def ask_all(
        self, subject: str, payload: bytes, *, timeout: float = 2.0, quiet: float = 0.5
    ) -> list[bytes]:
        """Ask everybody with raw bytes, for APIs that are not ours: every answer within `timeout`.

        Waits no longer than `quiet` seconds for one more. Raises BusUnavailable.
        """
        return await gather(self.connection, subject, payload, timeout=timeout, quiet=quiet)

    async def serve(
        self,
        name: str,
        version: str,
        endpoints: Sequence[Endpoint[Any, Any]],
        *,
        queue: str,
        concurrency: int = 64,
    ) -> Service:
        """Answer questions from now on, `concurrency` at a time, shared with all of the same `queue`.

        Returns at once; the service stops in good order with the bus, or before with `stop()`.
        """
        workers = Workers(self.connection, concurrency)
        service = Service(self.connection, workers, name, version, endpoints, queue)
        self._services.append(service)
        await self.connection.add(service, settle=True)
        return service

    async def listen(self, topic: Topic[M], handler: Callable[[str, M], None]) -> Subscription:
        """Call `handler` with the subject and the message for all that is published, until closed.

        What does not decode is counted and logged once per kind. The handler must not block.
        """
        hear = decoding(self.connection, topic, handler)
        subscription = Subscription(self.connection, topic.subject, hear)
        await self.connection.add(subscription, settle=True)
        return subscription

    async def answer(
        self,
        subject: str,
        handler: Callable[[bytes, Mapping[str, str]], Awaitable[bytes]],
        *,
        queue: str = "",
        concurrency: int = 64,
    ) -> Answerer:
        """Answer raw requests with what `handler` makes of payload and headers, `concurrency` at a time.

        If the handler raises, that is logged and the asker hears nothing. Stops in good order with the
        bus, or before with `stop()`.
        """
        answerer = Answerer(self.connection, subject, handler, queue=queue, concurrency=concurrency)
        self._services.append(answerer)
        await self.connection.add(answerer.subscription, settle=True)
        return answerer

    async def sniff(self, subject: str) -> AsyncGenerator[Sighting, None]:
        """Everything on a subject as it is: subject, payload, headers. A slow reader misses some."""
        send, receive = anyio.create_memory_object_stream[Sighting](_SNIFF_BUFFER)

        async def hear(message: Msg) -> None:
            try:
                send.send_nowait((message.subject, message.data, headers(message)))
            except anyio.WouldBlock:
                self.stats.slow += 1

        subscription = Subscription(self.connection, subject, hear)
        with send, receive:
            try:
                await self.connection.add(subscription, settle=True)
                async for sighting in receive:
                    yield sighting
            finally:
                subscription.close()

    def follow(self, state_: State[M], on_change: Callable[[M | None, int], None]) -> Follower[M]:
        """Keep a retained document up to date, until closed.

        `on_change` is called with each document and its revision, in order, never with an older one;
        with (None, 0) once if nothing is there, and after a tombstone ran out. It must not block.
        """
        follower = Follower(self._followers, state_, on_change)
        self._followers.add(follower)
        return follower
