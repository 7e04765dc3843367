"""Subscriptions: one subject, one callback, carried over from connection to connection."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TypeVar

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as NatsSubscription
from nats.errors import Error

from common.bus.connection import Connection
from common.contract.topic import Topic
from common.errors import InvalidMessage
from common.log import fields

log = logging.getLogger("common.bus")

M = TypeVar("M", bound=msgspec.Struct)

_MOST_WAITING = 65_536
_MOST_WAITING_BYTES = 32 * 1024 * 1024


class Subscription:
    """Interest in a subject until it is closed or the bus is."""

    def __init__(
        self,
        connection: Connection,
        subject: str,
        callback: Callable[[Msg], Awaitable[None]],
        *,
        queue: str = "",
        on_slow: Callable[[], None] | None = None,
        most_waiting: int = _MOST_WAITING,
    ) -> None:
        self.subject = subject
        self._connection = connection
        self._callback = callback
        self._queue = queue
        self._on_slow = on_slow
        self._most_waiting = most_waiting
        self._current: NatsSubscription | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<Subscription {self.subject}{' closed' if self._closed else ''}>"

    async def attach(self, client: Client) -> None:
        """Subscribe on this connection."""
        if self._closed:
            return

        async def hear(message: Msg) -> None:
            if not self._closed:
                await self._callback(message)

        current = await client.subscribe(
            self.subject,
            self._queue,
            cb=hear,
            pending_msgs_limit=self._most_waiting,
            pending_bytes_limit=_MOST_WAITING_BYTES,
        )
        if self._closed:  # while the server was told
            await unsubscribe(current)
            return
        self._current = current
        if self._on_slow is not None:
            self._connection.on_slow[current] = self._on_slow

    @property
    def closed(self) -> bool:
        """True once nothing more is heard."""
        return self._closed

    def close(self) -> None:
        """Hear nothing more, from now on."""
        if self._closed:
            return
        self._closed = True
        self._connection.remove(self)
        if self._current is not None:
            self._connection.on_slow.pop(self._current, None)
            self._connection.spawn(unsubscribe, self._current)

    async def drain(self) -> None:
        """Ask for nothing more, and wait until all that has arrived has been handed to the callback."""
        self._connection.remove(self)
        if self._current is not None and not self._closed:
            # A connection that has ended has taken its subscriptions with it.
            with suppress(Error, OSError):
                await self._current.drain()  # type: ignore[no-untyped-call]
        self._closed = True


async def unsubscribe(subscription: NatsSubscription) -> None:
    """End a subscription of nats-py, if it still is one."""
    # Of a connection that is no more there is nothing to end.
    with suppress(Error, OSError):
        await subscription.unsubscribe()


def decoding(
    connection: Connection, topic: Topic[M], handler: Callable[[str, M], None]
) -> Callable[[Msg], Awaitable[None]]:
    """A callback that decodes and hands over; nothing that arrives, and no handler, can stop it."""

    async def hear(message: Msg) -> None:
        document = decode(connection, topic, message.subject, message.data)
        if document is not None:
            call(connection, topic.subject, handler, message.subject, document)

    return hear


def decode(connection: Connection, topic: Topic[M], subject: str, payload: bytes) -> M | None:
    """Read a message. If it is not what its subject promises: count it, tell once per kind, None."""
    try:
        return topic.decode(payload)
    except InvalidMessage as error:
        connection.stats.undecodable += 1
        connection.complaints.say(
            f"decode {error}", "message not understood", subject=subject, error=str(error)
        )
        return None


def call(
    connection: Connection, subject: str, handler: Callable[..., None], *arguments: object
) -> None:
    """Call `handler`; what it raises is counted and logged, and stops nothing else."""
    try:
        handler(*arguments)
    except Exception:
        connection.stats.failed_handlers += 1
        log.exception("a handler failed", extra=fields(subject=subject))


def headers(message: Msg) -> Mapping[str, str]:
    """A message's headers; none is the same as an empty set."""
    return message.headers or {}
