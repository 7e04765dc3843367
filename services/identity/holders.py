"""Who is connected to the bus with which of the services' keys, and who is to come with another."""

from dataclasses import dataclass
from typing import Literal, Protocol

from common.clock import Clock
from common.contract.identity import Waiting
from services.identity import nkey
from services.identity.directory import MeshDirectory, beside
from services.identity.key_progress import KeyProgress
from services.identity.permissions import ROLES, Role
from services.identity.stock import waited
from services.identity.system import Connection

Holder = Role | Literal["system"]
HOLDERS: tuple[Holder, ...] = (*ROLES, "system")
_OURS: tuple[Holder, ...] = ("identity", "system")
KICK_SECONDS = 10.0
"""How often, in the end, somebody is asked to leave: the file with the new key may take its time to come."""
_FIRST_KICK_SECONDS = 1.0
SETTLE_SECONDS = 1.0
"""How long identity stays: when NATS has read its files, workloads come back and ask for it."""
_COMES = "is still connected with its old key"
_CAME = "has not come with its new key"


class Asked(Protocol):
    """What the servers of NATS are asked."""

    async def connections(self) -> list[Connection]:
        """Everybody who is connected; raises BusUnavailable."""
        ...

    async def ask_to_leave(self, connection: Connection) -> None:
        """End a connection."""
        ...


@dataclass(frozen=True)
class Held:
    """A connection of a service."""

    holder: Holder
    connection: Connection
    old: bool


def roles_by_key(mesh: MeshDirectory) -> dict[str, Holder]:
    """Whose each public nkey is, of those in force and those beside them. Raises InvalidSettings."""
    found: dict[str, Holder] = {}
    for holder in HOLDERS:
        path = mesh.seed_file(holder)
        for one in (beside(path, "old"), beside(path, "new"), path):
            if one == path or one.exists():
                found[mesh.seed(one, nkey.USER).public] = holder
    return found


class Holders:
    """Everybody who has a service's key. What is known is of one phase."""

    def __init__(self, system: Asked, mesh: MeshDirectory, clock: Clock) -> None:
        self._system = system
        self._mesh = mesh
        self._clock = clock
        self._came: set[Holder] = set()
        self._kick_at: dict[Holder, float] = {}
        self._kick_after: dict[Holder, float] = {}
        self._waiting: tuple[Waiting, ...] = ()

    def begin_anew(self) -> None:
        """Another phase: who came has to come again."""
        self._came, self._kick_at, self._kick_after, self._waiting = set(), {}, {}, ()

    async def look(self, progress: KeyProgress) -> list[Held]:
        """Who is connected now. Raises BusUnavailable, InvalidSettings."""
        going = self._going(progress)
        known = roles_by_key(self._mesh)
        held = [
            Held(known[one.connected.user], one, one.connected.user in going)
            for one in await self._system.connections()
            if one.connected.user in known
        ]
        self._came |= {one.holder for one in held if not one.old}
        return held

    def waiting(self, progress: KeyProgress, held: list[Held]) -> tuple[Waiting, ...]:
        """Whom the phase waits for: with the old key, or not come. An operator need not come.

        Where old keys are distrusted, whoever shows one is not waited for once their service has come: it may
        be a thief, who would never come.
        """
        why: dict[str, str] = {}
        for name in progress.members:
            if name not in (*self._came, "operator"):
                why[name] = _CAME
        enough = {*self._came, "operator"} if progress.distrusts else ()
        why |= {one.holder: _COMES for one in held if one.old and one.holder not in enough}
        self._waiting = waited(dict(sorted(why.items())), self._waiting, self._clock.now())
        return self._waiting

    async def kick(self, progress: KeyProgress, held: list[Held]) -> list[Holder]:
        """Ask those to leave who have the old key, identity later and one replica at a time; says whom."""
        now, told = self._clock.monotonic(), []
        settled = self._clock.now() - progress.since >= SETTLE_SECONDS
        for holder in HOLDERS:
            olds = [one for one in held if one.old and one.holder == holder]
            ours = holder in _OURS
            if not olds or now < self._kick_at.get(holder, now) or (ours and not settled):
                continue
            for one in olds[:1] if ours else olds:
                await self._system.ask_to_leave(one.connection)
            again = self._kick_after.get(holder, _FIRST_KICK_SECONDS)
            self._kick_after[holder] = min(2 * again, KICK_SECONDS)
            self._kick_at[holder] = now + again
            told.append(holder)
        return told

    def _going(self, progress: KeyProgress) -> set[str]:
        if "services" not in progress.what:
            return set()
        files = [beside(self._mesh.seed_file(holder), progress.going) for holder in HOLDERS]
        return {self._mesh.seed(path, nkey.USER).public for path in files}
