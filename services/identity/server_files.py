"""Sees to it that every NATS server shows a certificate below the anchor that signs, and trusts the right.

A server that reads its files anew lets go of everybody who came in by the callout, so it is asked only when
there is something to read: its certificate, and in a cluster the anchors by which nodes know each other.
"""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Protocol

from common.clock import Clock
from common.errors import BusUnavailable
from services.identity import server_certificate
from services.identity.directory import MeshDirectory, write
from services.identity.journal import Journal
from services.identity.presence import Presence
from services.identity.store import NotKept, Store
from services.identity.system import Loaded


class Delivery(Protocol):
    """How what NATS reads gets to its servers."""

    async def deliver(self) -> str:
        """Have every server read what there is for it now; returns what is wrong, empty if nothing is.

        Raises BusUnavailable, NotKept, InvalidSettings or OSError.
        """
        ...


class ServerFiles:
    """The certificate of NATS in the mesh directory, and whether the servers have read it."""

    def __init__(self, store: Store, delivery: Delivery, journal: Journal, clock: Clock) -> None:
        self._store = store
        self._delivery = delivery
        self._journal = journal
        self._clock = clock

    async def see_to(self) -> str:
        """Renew it if that is called for, and have it read; returns what is wrong, empty if nothing is.

        Raises InvalidSettings, OSError, or NotKept of what was renewed.
        """
        if server_certificate.renew(self._store.draft, self._clock.now()):
            await self._store.keep()
            certificate = self._store.draft.server().certificate
            await self._journal.tell(
                "server-renewed",
                "a certificate for NATS",
                serial=f"{certificate.serial_number:x}",
                not_after=f"{certificate.not_valid_after_utc.timestamp():.0f}",
            )
        try:
            return await self._delivery.deliver()
        except BusUnavailable as error:
            return f"NATS was not told to read its files anew: {error}"
        except NotKept as error:
            return str(error)


class InFiles:
    """The servers read the mesh directory, or a folder of copies, if `copies` is one."""

    def __init__(
        self, mesh: MeshDirectory, presence: Presence, *, copies: Path | None = None
    ) -> None:
        self._mesh = mesh
        self._copies = copies
        self._presence = presence
        self._read = 0.0

    async def deliver(self) -> str:
        """See Delivery."""
        changed = max(path.stat().st_mtime for path in self._files())
        if changed == self._read:
            return ""
        ends = self._mesh.server().certificate.not_valid_after_utc
        late, troubles = await self._presence.behind(_since(changed, ends))
        troubles += await self._presence.reload(late)
        if not troubles:
            self._read = changed
        return "; ".join(troubles)

    def _files(self) -> list[Path]:
        """What the servers read, the copies among it up to date."""
        mesh = self._mesh
        files = [mesh.server_key_file, mesh.server_file]
        if self._copies is not None:
            copies = [self._copies / path.name for path in files]
            for path, copy in zip(files, copies, strict=True):
                write(copy, mesh.read(path), path.stat().st_mode & 0o777)
            files = copies
        if mesh.cluster_password_file.exists():
            files.append(mesh.anchors_file)
        return files


def _since(changed: float, ends: datetime) -> Callable[[Loaded], bool]:
    """Whether a server has read its files since they `changed`.

    One that shows another certificate than the one that `ends` then has not, whatever its clock says.
    """
    return lambda loaded: loaded.at.timestamp() > changed and loaded.ends in (ends, None)
