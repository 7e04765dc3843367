"""What the NATS servers themselves tell and do: who is connected, end that, read your files again.

Asked over the system account, with a key that identity alone has. Every server of a cluster answers for
itself.
"""

import logging
from datetime import datetime
from typing import TypeVar

import msgspec

from common.bus import Bus
from common.contract import subjects
from common.errors import BusUnavailable
from common.log import fields

log = logging.getLogger(__name__)

T = TypeVar("T")
_ANSWER_SECONDS = 5.0
_QUIET_SECONDS = 0.5
"""A server that has not answered so long after the others is not there."""
_PAGE = 1000
_ONLY_AT_START = "not supported for AuthCallout"


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """One nats-server."""

    id: str
    name: str = ""
    ver: str = ""


class Connected(msgspec.Struct, frozen=True, kw_only=True):
    """A connection, as its server tells."""

    cid: int
    name: str = ""
    """What it calls itself, which means nothing."""
    user: str = msgspec.field(default="", name="authorized_user")
    """As whom it was admitted: the name in its user JWT, or the public nkey of a service."""


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """A connection and where it is."""

    server: Server
    connected: Connected


class _Page(msgspec.Struct, frozen=True):
    connections: tuple[Connected, ...] = ()
    total: int = 0


class Loaded(msgspec.Struct, frozen=True):
    """What a server has read of its files."""

    at: datetime = msgspec.field(name="config_load_time")
    """When, by its own clock."""
    ends: datetime | None = msgspec.field(default=None, name="tls_cert_not_after")
    """When the certificate ends that it shows; None if it does not tell."""
    tags: tuple[str, ...] | None = None
    """What its configuration calls it, such as which files it has read (see cluster.layout)."""


class _Error(msgspec.Struct, frozen=True):
    description: str = ""


class _Answer(msgspec.Struct, frozen=True):
    server: Server
    data: msgspec.Raw = msgspec.Raw(b"{}")
    error: _Error | None = None


class System:
    """Asks the servers on a bus that is in the system account. All methods raise BusUnavailable."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def servers(self) -> list[Server]:
        """Every server that answers, in the order of their names."""
        answers = await self._bus.ask_all(
            "$SYS.REQ.SERVER.PING", b"", timeout=_ANSWER_SECONDS, quiet=_QUIET_SECONDS
        )
        if not answers:
            raise BusUnavailable(f"no server answered within {_ANSWER_SECONDS:g} s")
        found = [_decode(answer, _Answer).server for answer in answers]
        return sorted(found, key=lambda server: server.name)

    async def connections(self) -> list[Connection]:
        """Everybody who is connected, in whatever account, on every server."""
        found = []
        for server in await self.servers():
            some = await self._on(server)
            found += [Connection(server=server, connected=each) for each in some]
        return found

    async def ask_to_leave(self, connection: Connection) -> None:
        """End a connection, perhaps our own: nobody waits for an answer. Never raises."""
        subject, asked = _kick(connection)
        # A request without an inbox is not heeded.
        await self._bus.say(subject, asked, reply=f"{subjects.role_inbox('identity')}.unheard")

    async def kick(self, connection: Connection) -> None:
        """End a connection; if it is over already, that is as well."""
        await self._one(*_kick(connection))

    async def loaded(self, server: Server) -> Loaded:
        """When a server last read its configuration and certificates, and what it shows since."""
        answer = await self._one(f"$SYS.REQ.SERVER.{server.id}.VARZ", b"")
        return _decode(answer.data, Loaded)

    async def reload(self, server: Server) -> None:
        """Have a server read its configuration and certificates again; raises if it does not like them."""
        answer = await self._one(f"$SYS.REQ.SERVER.{server.id}.RELOAD", b"")
        if answer.error is not None:
            raise BusUnavailable(f"{server.name}: {_explained(answer.error.description)}")

    async def _on(self, server: Server) -> list[Connected]:
        found: list[Connected] = []
        while True:
            asked = {"auth": True, "limit": _PAGE, "offset": len(found)}
            subject = f"$SYS.REQ.SERVER.{server.id}.CONNZ"
            answer = await self._one(subject, msgspec.json.encode(asked))
            page = _decode(answer.data, _Page)
            found += page.connections
            if not page.connections or len(found) >= page.total:
                return found

    async def _one(self, subject: str, payload: bytes) -> _Answer:
        reply = await self._bus.ask(subject, payload, timeout=_ANSWER_SECONDS)
        return _decode(reply, _Answer)


def _explained(trouble: str) -> str:
    """Why a server did not read its files; not what stands in them."""
    if _ONLY_AT_START in trouble:
        return "takes another key of account or callout at its start only: restart it"
    return f"not reloaded: {trouble.partition(': old=')[0]}"


def _kick(connection: Connection) -> tuple[str, bytes]:
    asked = msgspec.json.encode({"cid": connection.connected.cid})
    return f"$SYS.REQ.SERVER.{connection.server.id}.KICK", asked


def _decode(payload: bytes | msgspec.Raw, expected: type[T]) -> T:
    try:
        return msgspec.json.decode(payload, type=expected)
    except msgspec.DecodeError as error:
        log.warning("a server answered strangely", extra=fields(error=str(error)))
        raise BusUnavailable(f"a server answered strangely: {error}") from None
