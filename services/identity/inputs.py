"""What the authority works with, read from the mesh directory, and again whenever that changes.

What cannot be used is refused loudly, and what there was stays in force.
"""

from dataclasses import dataclass

import anyio
from cryptography import x509

from common.clock import Clock
from common.contract.identity import TrustBundle
from common.errors import InvalidCertificate, InvalidSettings
from common.latest import Latest
from common.x509 import anchor_of, bus_context, chain_pem, key_id, load_certificates
from services.identity import progress as progresses
from services.identity.authority import Authority
from services.identity.directory import MeshDirectory
from services.identity.journal import Journal
from services.identity.live import Stamp, stamped
from services.identity.progress import Progress

LOOK_SECONDS = 1.0


@dataclass(frozen=True, eq=False)
class Inputs:
    """One state of the files. Never changed, only replaced."""

    trust_domain: str
    anchors: tuple[x509.Certificate, ...]
    authority: Authority
    progress: Progress

    @property
    def anchors_pem(self) -> str:
        """The anchors, PEM."""
        return chain_pem(self.anchors).decode()

    @property
    def bundle(self) -> TrustBundle:
        """What everybody is told."""
        return TrustBundle(
            trust_domain=self.trust_domain,
            anchors=tuple(chain_pem([anchor]).decode() for anchor in self.anchors),
            signing=anchor_of(self.authority.issuer.chain, self.anchors),
            phase=self.progress.phase,
        )

    def has_reached(self, progress: Progress) -> bool:
        """Whether what is in force is what that phase of a rotation, which is under way, asks for."""
        keys = {key_id(anchor) for anchor in self.anchors}
        signing = progress.old if progress.phase == "added" else progress.new
        return (
            (self.progress.phase, self.bundle.signing) == (progress.phase, signing)
            and progress.new in keys
            and (progress.old in keys) == (progress.phase != "removed")
        )

    def for_proofs(self, now: float) -> list[x509.Certificate]:
        """The anchors below which a leaf opens the door: those in force, and for a while those before."""
        retired = [one.pem for one in self.progress.retired if now < one.until]
        return [*self.anchors, *(c for pem in retired for c in load_certificates(pem.encode()))]


def read(mesh: MeshDirectory, trust_domain: str, leaf_seconds: float, now: float) -> Inputs:
    """Read the files and prove that what the issuer signs leads to an anchor; raises InvalidSettings."""
    anchors = mesh.anchors()
    authority = Authority(mesh.issuer(), leaf_seconds)
    try:
        bus_context(chain_pem(anchors).decode())
    except InvalidCertificate as error:
        raise InvalidSettings(f"{mesh.anchors_file}: {error}") from None
    try:
        authority.prove(anchors, trust_domain, now)
    except InvalidCertificate as error:
        raise InvalidSettings(f"{mesh.issuer_file}: {error}") from None
    return Inputs(trust_domain, tuple(anchors), authority, progresses.load(mesh))


class Reloader:
    """Keeps `current` what the files say."""

    def __init__(
        self,
        mesh: MeshDirectory,
        trust_domain: str,
        leaf_seconds: float,
        clock: Clock,
    ) -> None:
        self._mesh = mesh
        self._trust_domain = trust_domain
        self._leaf_seconds = leaf_seconds
        self._clock = clock
        self._seen = self._stamp()
        self._doubted: Stamp = ()
        self.current = Latest(self._read())
        self.good = True
        """Whether the files are those in force; false if they were refused."""

    async def run(self, journal: Journal) -> None:
        """Look every second, for ever."""
        while True:
            await anyio.sleep(LOOK_SECONDS)
            await self.look(journal)

    async def look(self, journal: Journal) -> None:
        """Take up what has changed; tell of it, or of why it cannot be used."""
        stamp = self._stamp()
        if stamp == self._seen:
            return
        try:
            found = self._read()
        except InvalidSettings as error:
            # Two files that belong together are not written at once: what is refused was so for a while.
            if stamp != self._doubted:
                self._doubted = stamp
                return
            self._seen, self.good = stamp, False
            await journal.tell("refused-files", f"what was there stays in force: {error}")
            return
        before = self.current.value
        self._seen, self.good = stamp, True
        self.current.set(found)
        issuer = found.authority.issuer.certificate
        if (found.anchors, issuer) != (before.anchors, before.authority.issuer.certificate):
            await journal.tell(
                "reloaded",
                f"{len(found.anchors)} trust anchors, issuer {issuer.serial_number:x}",
                not_after=f"{issuer.not_valid_after_utc.timestamp():.0f}",
            )

    def _read(self) -> Inputs:
        return read(self._mesh, self._trust_domain, self._leaf_seconds, self._clock.now())

    def _stamp(self) -> Stamp:
        """What changes whenever one of the files does."""
        mesh = self._mesh
        files = (
            *(mesh.anchors_file, mesh.issuer_file, mesh.issuer_key_file),
            *(mesh.foreign_anchors_file, mesh.rotation_file),
        )
        return stamped(files)
