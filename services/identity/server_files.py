"""Sees to it that every NATS server has read what is its own: certificate, configuration, anchors.

A server that reads its files anew lets go of everybody who came in by the callout, so it is asked only when
there is something to read: its certificate, its configuration when keys are replaced, and in a cluster the
anchors by which nodes know each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from common.clock import Clock
from common.errors import BusUnavailable
from services.identity import nats_files, server_certificate
from services.identity.directory import MeshDirectory
from services.identity.journal import Journal
from services.identity.parts import Parts
from services.identity.presence import Presence
from services.identity.roots import has_routes
from services.identity.store import NotKept, Store
from services.identity.system import Loaded, Server

AGAIN_SECONDS = 10.0
"""How long a server that did not read the files is left alone."""


class Delivery(Protocol):
    """How what NATS reads gets to its servers."""

    async def deliver(self) -> str:
        """Have every server read what there is for it now; returns what is wrong, empty if nothing is.

        Raises BusUnavailable, NotKept, InvalidSettings or OSError.
        """
        ...


class ServerFiles:
    """What is NATS's in the mesh directory, and whether the servers have read it."""

    def __init__(
        self,
        store: Store,
        delivery: Delivery,
        presence: Presence,
        journal: Journal,
        clock: Clock,
    ) -> None:
        self._store = store
        self._delivery = delivery
        self._presence = presence
        self._journal = journal
        self._clock = clock

    async def see_to(self) -> str:
        """Renew the certificate in time, and have all be read; returns what is wrong, empty if nothing is.

        Raises InvalidSettings, OSError, or NotKept of what was renewed.
        """
        await self._renew()
        try:
            return await self._delivery.deliver()
        except BusUnavailable as error:
            return f"NATS was not told to read its files anew: {error}"
        except NotKept as error:
            return str(error)

    def names(self) -> set[str]:
        """The servers that there should be. Raises InvalidSettings."""
        return set(nats_files.marks(self._store.draft))

    async def away(self) -> set[str]:
        """Those that do not answer. Raises InvalidSettings, BusUnavailable."""
        return self.names() - await self._presence.servers()

    async def _renew(self) -> None:
        if server_certificate.renew(self._store.draft, self._clock.now()):
            await self._store.keep()
            certificate = self._store.draft.server().certificate
            await self._journal.tell(
                "server-renewed",
                "a certificate for NATS",
                serial=f"{certificate.serial_number:x}",
                not_after=f"{certificate.not_valid_after_utc.timestamp():.0f}",
            )


@dataclass(frozen=True)
class Wanted:
    """What every server is to have read."""

    changed: float
    """When the files were written last, seconds since the epoch."""
    ends: datetime
    """When the certificate ends that is to be shown."""
    marks: frozenset[str]
    """What servers tell of their configurations."""

    def is_shown(self, loaded: Loaded) -> bool:
        """Whether a server shows that it has, as far as that can be seen, whatever its clock says."""
        marked = not self.marks or bool(self.marks & {*(loaded.tags or ())})
        return marked and loaded.ends in (self.ends, None)

    def is_read(self, loaded: Loaded) -> bool:
        """Whether it has, also what cannot be seen, such as anchors."""
        return loaded.at.timestamp() > self.changed and self.is_shown(loaded)


class InFiles:
    """The servers read the mesh directory, or a part of it."""

    def __init__(self, mesh: MeshDirectory, presence: Presence, clock: Clock, parts: Parts) -> None:
        self._mesh = mesh
        self._presence = presence
        self._clock = clock
        self._parts = parts
        self._read: Wanted | None = None
        self._asked_for: Wanted | None = None
        self._again: dict[str, float] = {}
        self._refused: dict[str, str] = {}

    async def deliver(self) -> str:
        """See Delivery."""
        self._parts.keep()
        wanted = self._wanted()
        if wanted == self._read:
            return ""
        if wanted != self._asked_for:
            self._asked_for, self._again, self._refused = wanted, {}, {}
        late, troubles = await self._presence.behind(wanted.is_read)
        await self._ask(late)
        blind, _ = await self._presence.behind(wanted.is_shown)
        unread = {one.name: f"NATS server {one.name}: has not read its new files" for one in blind}
        refused = {one.name: self._refused[one.name] for one in late if one.name in self._refused}
        troubles += (unread | refused).values()
        if not troubles:
            self._read = wanted
        return "; ".join(troubles)

    async def _ask(self, late: Sequence[Server]) -> None:
        """Where the files come later, or are refused, not over and over."""
        now = self._clock.monotonic()
        due = [server for server in late if now >= self._again.get(server.id, now)]
        for server in due:
            self._refused.pop(server.name, None)
            self._again[server.id] = now + AGAIN_SECONDS
        self._refused |= await self._presence.reload(due)

    def _wanted(self) -> Wanted:
        mesh = self._mesh
        certificate = mesh.server().certificate
        files = [mesh.server_key_file, mesh.server_file]
        if has_routes(certificate):
            files.append(mesh.anchors_file)
        return Wanted(
            changed=max(path.stat().st_mtime for path in files),
            ends=certificate.not_valid_after_utc,
            marks=frozenset(nats_files.marks(mesh).values()) - {""},
        )
