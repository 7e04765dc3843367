"""Sees to it that every NATS server shows a certificate below the anchor that signs, and trusts the right.

A server that reads its files anew lets go of everybody who came in by the callout, so it is asked only when
there is something to read: its certificate, and in a cluster the anchors by which nodes know each other.
"""

from pathlib import Path

from common.clock import Clock
from common.errors import BusUnavailable
from services.identity import server_certificate
from services.identity.directory import MeshDirectory, write
from services.identity.journal import Journal
from services.identity.presence import Presence
from services.identity.roots import has_routes


class ServerFiles:
    """The certificate of NATS in the mesh directory, and whether the servers have read it."""

    def __init__(
        self,
        mesh: MeshDirectory,
        presence: Presence,
        journal: Journal,
        clock: Clock,
        *,
        copies: Path | None = None,
    ) -> None:
        """`copies` is a folder where the servers have the certificate, if not in the mesh directory."""
        self._mesh = mesh
        self._copies = copies
        self._presence = presence
        self._journal = journal
        self._clock = clock
        self._read = 0.0

    async def see_to(self) -> str:
        """Renew it if that is called for, and have it read; returns what is wrong, empty if nothing is.

        Raises InvalidSettings or OSError.
        """
        if server_certificate.renew(self._mesh, self._clock.now()):
            certificate = self._mesh.server().certificate
            await self._journal.tell(
                "server-renewed",
                "a certificate for NATS",
                serial=f"{certificate.serial_number:x}",
                not_after=f"{certificate.not_valid_after_utc.timestamp():.0f}",
            )
        changed = max(path.stat().st_mtime for path in self._files())
        if changed == self._read:
            return ""
        try:
            ends = self._mesh.server().certificate.not_valid_after_utc
            troubles = await self._presence.reload_all(changed, ends)
        except BusUnavailable as error:
            return f"NATS was not told to read its files anew: {error}"
        if troubles:
            return "; ".join(troubles)
        self._read = changed
        return ""

    def _files(self) -> list[Path]:
        """What the servers read, the copies among it up to date."""
        mesh = self._mesh
        files = [mesh.server_key_file, mesh.server_file]
        if self._copies is not None:
            copies = [self._copies / path.name for path in files]
            for path, copy in zip(files, copies, strict=True):
                write(copy, mesh.read(path), path.stat().st_mode & 0o777)
            files = copies
        if has_routes(mesh.server().certificate):
            files.append(mesh.anchors_file)
        return files
