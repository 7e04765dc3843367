"""Whoever may no longer use the bus is shown out, at once and without a restart of anything.

NATS asks once, when somebody connects. So their connections are looked for when the file of people has
changed, and ended; what nobody changed, a time that has come, ends with the user's JWT by itself.
"""

import logging
from typing import Protocol

import anyio

from common.clock import Clock
from common.errors import BusUnavailable
from common.log import fields
from services.identity.journal import Journal
from services.identity.people import People
from services.identity.system import Connection

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
AGAIN_SECONDS = 60.0
"""How often to look although nothing changed: who came in while nobody could look."""
_OURS = "_/"


class Asked(Protocol):
    """What the servers of NATS are asked; both raise BusUnavailable."""

    async def connections(self) -> list[Connection]:
        """Everybody who is connected."""
        ...

    async def kick(self, connection: Connection) -> None:
        """End a connection."""
        ...


class Turnout:
    """Ends connections of people that are not in the file as they were admitted."""

    def __init__(self, people: People, system: Asked, journal: Journal, clock: Clock) -> None:
        self._people = people
        self._system = system
        self._journal = journal
        self._clock = clock

    async def run(self) -> None:
        """Look whenever the file has changed, and every AGAIN_SECONDS, for ever."""
        known: frozenset[str] | None = None
        again, told = 0.0, ""
        while True:
            now, may = self._clock.monotonic(), self._people.admitted_as()
            told = await self._tell(told)
            if (may != known or now >= again) and await self._look():
                known, again = may, now + AGAIN_SECONDS
            await anyio.sleep(LOOK_SECONDS)

    async def _look(self) -> bool:
        """True if everybody was looked at."""
        try:
            connections = await self._system.connections()
            # Asked for after that: whoever came in meanwhile was in the file before.
            may = self._people.admitted_as()
            for connection in connections:
                user = connection.connected.user
                if user.startswith(_OURS) and user not in may:
                    await self._system.kick(connection)
                    name = user.split("/")[1]
                    await self._journal.tell(
                        "removed", f"{name} may no longer use the bus", name=name
                    )
        except BusUnavailable as error:
            log.warning("not everybody was looked at", extra=fields(error=str(error)))
            return False
        return True

    async def _tell(self, told: str) -> str:
        mistake = self._people.mistake
        if mistake and mistake != told:
            await self._journal.tell("refused", f"nobody by name is admitted: {mistake}")
        return mistake
