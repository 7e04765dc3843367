"""Who is connected to NATS, by the names under which a rotation knows them; and its servers as a whole."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from common.clock import Clock, SystemClock
from common.errors import BusUnavailable
from services.identity.system import Connection, Loaded, Server

# Identity is waited for as a service, not once more for what it asks NATS.
_NOT_WAITED_FOR = ("operator", "system")
AGAIN_SECONDS = 10.0
"""How long a server that did not find the new files is left alone: in Kubernetes they take a minute to come."""


class Asked(Protocol):
    """What the servers of NATS are asked; all methods raise BusUnavailable."""

    async def servers(self) -> list[Server]:
        """Every server."""
        ...

    async def connections(self) -> list[Connection]:
        """Everybody who is connected to the mesh's account."""
        ...

    async def loaded(self, server: Server) -> Loaded:
        """When a server last read its files, and what it shows since."""
        ...

    async def reload(self, server: Server) -> None:
        """Have a server read its files anew."""
        ...


@dataclass(frozen=True)
class Wanted:
    """What every server is to have read."""

    changed: float
    """When the files were written last, seconds since the epoch."""
    ends: datetime
    """When the certificate ends that is to be shown."""
    marks: Mapping[str, str]
    """By its name, what a server tells of its configuration."""


class Presence:
    """Workloads and services with a connection. `roles` says whose nkey is whose; people do not count."""

    def __init__(
        self, system: Asked, roles: Callable[[], Mapping[str, str]], clock: Clock | None = None
    ) -> None:
        self._system = system
        self._roles = roles
        self._clock = clock or SystemClock()
        self._asked: dict[object, tuple[float, str]] = {}

    async def names(self) -> set[str]:
        """`namespace/workload`, and `_/` and the name of a service; raises BusUnavailable."""
        connections, roles = await self._system.connections(), self._roles()
        return {self._name(one.connected.user, roles) for one in connections} - {""}

    async def servers(self) -> set[str]:
        """The names of the servers that answer; raises BusUnavailable."""
        return {server.name for server in await self._system.servers()}

    async def reload_all(self, wanted: Wanted, *, known: bool = False) -> list[str]:
        """Have every server read its files that does not show what is wanted; what is wrong, for people.

        Nor was it read before it `changed`, unless that is `known`; a server's clock is not ours. Whoever
        came in by the callout has to come in anew after a reload, so a server that has read all is left
        alone, and one to which the files have not come yet is asked AGAIN_SECONDS later. Raises
        BusUnavailable.
        """
        troubles = [
            await self._see_to(server, wanted, known) for server in await self._system.servers()
        ]
        return [f"NATS server {trouble}" for trouble in troubles if trouble]

    async def _see_to(self, server: Server, wanted: Wanted, known: bool) -> str:
        try:
            loaded = await self._system.loaded(server)
            missing = _missing(loaded, server, wanted)
            if not missing and (known or loaded.at.timestamp() > wanted.changed):
                return ""
            asked = (server.id, wanted.changed, wanted.ends, wanted.marks.get(server.name))
            return await self._ask(server, wanted, asked)
        except BusUnavailable as error:
            return str(error)

    async def _ask(self, server: Server, wanted: Wanted, asked: object) -> str:
        now = self._clock.monotonic()
        again, trouble = self._asked.get(asked, (now, ""))
        if now < again:
            return trouble
        try:
            await self._system.reload(server)
            trouble = _missing(await self._system.loaded(server), server, wanted)
        except BusUnavailable as error:
            trouble = str(error)
        self._asked = {one: told for one, told in self._asked.items() if told[0] > now}
        self._asked[asked] = now + AGAIN_SECONDS, trouble
        return trouble

    def _name(self, user: str, roles: Mapping[str, str]) -> str:
        role = roles.get(user)
        if role is not None:
            return "" if role in _NOT_WAITED_FOR else f"_/{role}"
        # A person's is longer: see people.Person.admitted_as.
        return user if user.count("/") == 1 else ""


def _missing(loaded: Loaded, server: Server, wanted: Wanted) -> str:
    """What is missing at a server; empty if nothing that can be seen from here."""
    mark = wanted.marks.get(server.name)
    if mark and mark not in loaded.tags:
        return f"{server.name}: has not read its new configuration"
    if loaded.ends not in (wanted.ends, None):
        return f"{server.name}: has not read its new certificate"
    return ""
