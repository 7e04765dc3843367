"""Who is connected to NATS, by the names under which a rotation knows them; and its servers as a whole."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from common.errors import BusUnavailable
from services.identity.system import Connection, Loaded, Server

# Identity is waited for as a service, not once more for what it asks NATS.
_NOT_WAITED_FOR = ("operator", "system")


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


class Presence:
    """Workloads and services with a connection. `roles` says whose nkey is whose; people do not count."""

    def __init__(self, system: Asked, roles: Callable[[], Mapping[str, str]]) -> None:
        self._system = system
        self._roles = roles

    async def names(self) -> set[str]:
        """`namespace/workload`, and `_/` and the name of a service; raises BusUnavailable."""
        connections, roles = await self._system.connections(), self._roles()
        return {self._name(one.connected.user, roles) for one in connections} - {""}

    async def servers(self) -> set[str]:
        """The names of the servers that answer; raises BusUnavailable."""
        return {server.name for server in await self._system.servers()}

    async def behind(self, has_read: Callable[[Loaded], bool]) -> tuple[list[Server], list[str]]:
        """The servers that have not read what they are to; and, for people, whom one cannot ask.

        Raises BusUnavailable.
        """
        late, troubles = [], []
        for server in await self._system.servers():
            try:
                if not has_read(await self._system.loaded(server)):
                    late.append(server)
            except BusUnavailable as error:
                troubles.append(f"NATS server {error}")
        return late, troubles

    async def reload(self, servers: Sequence[Server]) -> dict[str, str]:
        """Have servers read their files anew; returns what went wrong, for people, by the server's name.

        Whoever came in by the callout has to come in anew after that, so a server that has read them already
        is to be left alone.
        """
        troubles = {}
        for server in servers:
            try:
                await self._system.reload(server)
            except BusUnavailable as error:
                troubles[server.name] = f"NATS server {error}"
        return troubles

    def _name(self, user: str, roles: Mapping[str, str]) -> str:
        role = roles.get(user)
        if role is not None:
            return "" if role in _NOT_WAITED_FOR else f"_/{role}"
        # A person's is longer: see people.Person.admitted_as.
        return user if user.count("/") == 1 else ""
