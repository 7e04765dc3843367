"""Sees to it that every NATS server has read what is its own: certificate, configuration, anchors.

A server that reads its files anew lets go of everybody who came in by the callout, so it is asked only when
there is something to read: its certificate, its configuration when keys are replaced, and in a cluster the
anchors by which nodes know each other.
"""

import anyio

from common.clock import Clock
from common.errors import BusUnavailable
from services.identity import nats_files, server_certificate
from services.identity.directory import MeshDirectory
from services.identity.journal import Journal
from services.identity.parts import Parts
from services.identity.presence import Presence, Wanted
from services.identity.roots import has_routes


class ServerFiles:
    """What is NATS's in the mesh directory, and whether the servers have read it."""

    def __init__(
        self, mesh: MeshDirectory, parts: Parts, presence: Presence, journal: Journal, clock: Clock
    ) -> None:
        self._mesh = mesh
        self._parts = parts
        self._presence = presence
        self._journal = journal
        self._clock = clock
        self._lock = anyio.Lock()
        self._read: Wanted | None = None

    async def see_to(self, *, afresh: bool = False) -> str:
        """Renew the certificate if that is called for, and have all be read; what is wrong, empty if nothing.

        With `afresh` servers are asked although they have told before. Raises InvalidSettings or OSError.
        """
        async with self._lock:
            await self._renew()
            self._parts.keep()
            wanted = self._wanted()
            if wanted == self._read and not afresh:
                return ""
            try:
                troubles = await self._presence.reload_all(wanted, known=wanted == self._read)
            except BusUnavailable as error:
                return f"NATS was not told to read its files anew: {error}"
            if troubles:
                return "; ".join(troubles)
            self._read = wanted
            return ""

    def names(self) -> set[str]:
        """The servers that there should be. Raises InvalidSettings."""
        return set(nats_files.marks(self._mesh))

    async def away(self) -> set[str]:
        """Those that do not answer. Raises InvalidSettings, BusUnavailable."""
        return self.names() - await self._presence.servers()

    async def _renew(self) -> None:
        if server_certificate.renew(self._mesh, self._clock.now()):
            certificate = self._mesh.server().certificate
            await self._journal.tell(
                "server-renewed",
                "a certificate for NATS",
                serial=f"{certificate.serial_number:x}",
                not_after=f"{certificate.not_valid_after_utc.timestamp():.0f}",
            )

    def _wanted(self) -> Wanted:
        mesh = self._mesh
        certificate = mesh.server().certificate
        files = [mesh.server_key_file, mesh.server_file]
        if has_routes(certificate):
            files.append(mesh.anchors_file)
        return Wanted(
            changed=max(path.stat().st_mtime for path in files),
            ends=certificate.not_valid_after_utc,
            marks=nats_files.marks(mesh),
        )
