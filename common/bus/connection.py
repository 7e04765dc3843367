"""One connection to NATS, kept for ever: whatever ends it, another is made, and interests carry over.

nats-py can reconnect by itself, but then it asks for a TLS context once, waits without jitter, gives up
for good after some errors, and keeps what was published meanwhile for later. So each of its clients here
lives for one connection only, and this file makes the next one.
"""

import itertools
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import anyio
from anyio.abc import TaskGroup
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import (
    Error,
    MaxPayloadError,
    NoRespondersError,
    SlowConsumerError,
    StaleConnectionError,
)
from nats.errors import TimeoutError as NatsTimeoutError

from common.backoff import Backoff
from common.bus.admission import Admission
from common.bus.complaints import Complaints
from common.bus.guarded import Guarded
from common.clock import Clock
from common.errors import BusUnavailable, InvalidMessage
from common.latest import Latest
from common.log import fields

log = logging.getLogger("common.bus")

_CONNECT_SECONDS = 15
"""For one server: its TCP and TLS handshakes and the answer of whoever admits us."""
_ALIVE_SECONDS = 10
"""How often a connection is asked whether it is still there, and how long its answer may take."""
_ASKED = 10
_AGAIN_SECONDS = 0.05
"""If nobody is there, a question is put again: a server that reads its configuration anew passes none on."""
_CLOSE_SECONDS = 2.0
_ABANDON_SECONDS = 0.2
_STEADY_SECONDS = 5.0
"""A connection that lasted so long was a good one: the next wait is short again."""
_MOST_PENDING_BYTES = 1024 * 1024
"""Unsent bytes beyond which a publish is dropped rather than made to wait."""


class Interest(Protocol):
    """Something that every new connection must be told, such as a subscription."""

    async def attach(self, client: Client) -> None:
        """Tell this connection; called once for each."""
        ...


@dataclass(slots=True)
class Stats:
    """What the bus counted since the start."""

    connections: int = 0
    published: int = 0
    unpublished: int = 0
    """Messages dropped because there was no connection or it was clogged."""
    undecodable: int = 0
    slow: int = 0
    """Messages dropped because a subscriber here did not keep up."""
    gaps: int = 0
    failed_handlers: int = 0


class Connection:
    """Keeps one of `servers` connected, and every interest attached to it."""

    def __init__(
        self,
        servers: Sequence[str],
        *,
        name: str,
        admission: Admission,
        inbox_prefix: str,
        clock: Clock,
    ) -> None:
        self.connected = Latest(False)
        self.stats = Stats()
        self.complaints = Complaints(log)
        self.clock = clock
        self.on_slow: dict[Subscription, Callable[[], None]] = {}
        """Whom to tell that a subscription lost messages."""
        self._servers = list(servers)
        self._name = name
        self._admission = admission
        self._inbox_prefix = inbox_prefix
        self._group: TaskGroup | None = None
        self._client: Guarded | None = None
        self._interests: dict[Interest, Client | None] = {}

    def start(self, group: TaskGroup) -> None:
        """Begin: all work on the bus is done in tasks of `group`, until that is cancelled."""
        self._group = group
        self.spawn(self._run)

    def spawn(self, work: Callable[..., Coroutine[Any, Any, None]], *arguments: object) -> None:
        """Do `work` in a task; nothing happens before the start or after the end."""
        if self._group is not None and not self._group.cancel_scope.cancel_called:
            self._group.start_soon(work, *arguments)

    async def _run(self) -> None:
        """Connect, and connect again, until cancelled."""
        backoff = Backoff(self.clock, first=0.25, most=8.0, jitter=0.9)
        order = sorted(self._servers, key=lambda _: self.clock.random())
        for server in itertools.cycle(order):
            started = self.clock.monotonic()
            stayed = await self._stay(server)
            if stayed and self.clock.monotonic() - started >= _STEADY_SECONDS:
                backoff.reset()
            await anyio.sleep(backoff.next() / len(order))

    async def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        reply: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> bool:
        """Send it if that needs no waiting; False, and counted, if it was dropped."""
        client = self._client
        if client is not None and client.pending_data_size <= _MOST_PENDING_BYTES:
            try:
                await client.publish(subject, payload, reply, dict(headers) if headers else None)
                self.stats.published += 1
                return True
            except (Error, OSError) as error:
                self.complaints.say(
                    f"publish {error}", "not published", subject=subject, error=_told(error)
                )
        self.stats.unpublished += 1
        return False

    async def request(
        self,
        subject: str,
        payload: bytes,
        *,
        timeout: float,
        headers: Mapping[str, str] | None = None,
    ) -> Msg:
        """Ask and wait for one answer; raises BusUnavailable, or InvalidMessage if it is too large."""
        given = dict(headers) if headers else None
        try:
            for _ in range(_ASKED):
                with suppress(NoRespondersError):
                    return await self.client().request(subject, payload, timeout, headers=given)
                await anyio.sleep(_AGAIN_SECONDS)
            raise BusUnavailable(f"{subject}: nobody is there to answer")
        except NatsTimeoutError:
            raise BusUnavailable(f"{subject}: no answer within {timeout:g} s") from None
        except MaxPayloadError:
            raise InvalidMessage(
                f"{subject}: {len(payload)} bytes; the bus takes {self.client().max_payload}"
            ) from None
        except (Error, OSError) as error:
            raise BusUnavailable(f"{subject}: {_told(error)}") from None

    def client(self) -> Client:
        """The client that is connected now; raises BusUnavailable if there is none."""
        if self._client is None:
            raise BusUnavailable("not connected to the bus")
        return self._client

    @property
    def clustered(self) -> bool:
        """Whether the server that is connected now is one of several; False if there is none."""
        return self._client is not None and self._client.clustered

    async def add(self, interest: Interest, *, settle: bool = False) -> None:
        """Attach `interest` now, if connected, and to every later connection.

        With `settle`, wait until the server knows of it, so that nothing published later is missed.
        """
        self._interests.setdefault(interest, None)
        client = self._client
        if client is None:
            return
        # If the connection ends meanwhile, the next one will see to it.
        with suppress(Error, OSError):
            await self._attach(interest, client)
            if settle:
                await client.settle(_ALIVE_SECONDS)

    def remove(self, interest: Interest) -> None:
        """Let no later connection know of `interest`."""
        self._interests.pop(interest, None)

    async def _attach(self, interest: Interest, client: Client) -> None:
        if self._interests.get(interest, client) is not client:
            self._interests[interest] = client
            await interest.attach(client)

    async def _stay(self, server: str) -> bool:
        """Connect to `server` and stay until that ends. True if it was connected at all.

        Whatever goes wrong is told, never raised.
        """
        client = Guarded(self._admission.tls is not None)
        link = _Link(self)
        try:
            with anyio.fail_after(_CONNECT_SECONDS):
                await client.connect(
                    [server],
                    name=self._name,
                    inbox_prefix=self._inbox_prefix,
                    allow_reconnect=False,
                    connect_timeout=_CONNECT_SECONDS,
                    error_cb=link.on_error,
                    **self._admission.options(),
                )
            link.connecting = False
            await self._up(client, server)
            reason = await _end_of(client) or link.reason or "closed by the server"
            log.warning("lost the bus", extra=fields(server=shown(server), reason=reason))
        except Exception as error:
            self.complaints.say(
                "connect", "cannot connect to the bus", server=shown(server), error=_told(error)
            )
        finally:
            stayed = self._down()
            link.connecting = False
            # After a failed handshake, or when the peer is gone, this may wait for ever.
            limit = _CLOSE_SECONDS if stayed else _ABANDON_SECONDS
            with anyio.move_on_after(limit, shield=True), suppress(Exception):
                await client.close()
            client.abort()
        return stayed

    async def _up(self, client: Guarded, server: str) -> None:
        self._client = client
        for interest in list(self._interests):
            await self._attach(interest, client)
        await client.settle(_ALIVE_SECONDS)
        self.stats.connections += 1
        self.complaints.clear("connect", "the bus can be reached again", server=shown(server))
        self.complaints.forget("nats ")
        log.info("connected to the bus", extra=fields(server=shown(server), name=self._name))
        self.connected.set(True)

    def _down(self) -> bool:
        stayed = self.connected.value
        self._client = None
        self.on_slow.clear()
        self.connected.set(False)
        return stayed


class _Link:
    """What nats-py tells of one connection."""

    def __init__(self, connection: Connection) -> None:
        self.connecting = True
        self.reason = ""
        """What nats-py said last of why the connection ended."""
        self._connection = connection

    async def on_error(self, error: Exception) -> None:
        """nats-py goes on trying on its own unless the first error is thrown back at it."""
        if self.connecting:
            raise error
        connection = self._connection
        if isinstance(error, SlowConsumerError):
            connection.stats.slow += 1
            connection.complaints.say(
                f"nats slow {error.subject}", "messages came too fast", subject=error.subject
            )
            connection.on_slow.get(error.sub, _nobody)()
        elif isinstance(error, StaleConnectionError | OSError):
            self.reason = _told(error)
        else:
            connection.complaints.say(f"nats {error}", "trouble on the bus", error=_told(error))


async def _end_of(client: Guarded) -> str:
    """Return when the connection has ended or is not answered any more; says why, if that is known."""
    while True:
        with anyio.move_on_after(_ALIVE_SECONDS):
            await client.ended.wait()
            return ""
        try:
            await client.rtt(timeout=_ALIVE_SECONDS)
        except NatsTimeoutError:
            return f"no answer within {_ALIVE_SECONDS} s"
        except (Error, OSError) as error:
            return _told(error)


def _nobody() -> None:
    """Nobody is to be told."""


def _told(error: Exception) -> str:
    """An error for people: some have no text of their own."""
    return f"{error}" or type(error).__name__


def shown(server: str) -> str:
    """A server's address without what somebody may have written before the `@`."""
    scheme, separator, rest = server.rpartition("://")
    return scheme + separator + rest.rpartition("@")[2]
