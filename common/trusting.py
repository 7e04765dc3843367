"""Whom a service trusts to be the bus: what its file says, and what the bus said last; and that it heard it."""

import logging
import ssl
from collections.abc import Callable
from pathlib import Path

import anyio

from common.bus import Bus
from common.clock import Clock, SystemClock
from common.contract import subjects
from common.contract.events import Ack
from common.contract.identity import TrustBundle
from common.errors import InvalidCertificate, InvalidSettings, MeshError
from common.log import fields
from common.version import VERSION
from common.x509 import bus_context

log = logging.getLogger(__name__)

ACK_SECONDS = 10.0
_LOOK_SECONDS = 0.5


class Trusting:
    """The anchors that a service connects to the bus with; `read` reads its file, afresh each time.

    The file alone counts at first. From the bundle on either will do: the file may be newer, for who was
    away when an anchor was replaced, or older.
    """

    def __init__(self, read: Callable[[], str], *, clock: Clock | None = None) -> None:
        self.revision = 0
        """The revision of the bundle in force; 0: none was heard."""
        self._read = read
        self._clock = clock or SystemClock()
        self._bundle = ""

    def anchors(self) -> str:
        """Whom the mesh trusts, PEM: what the bus said last, or the file as long as it has said nothing.

        Raises what `read` does.
        """
        return self._bundle or self._read()

    def context(self) -> ssl.SSLContext:
        """What the next connection to the bus is made with.

        Raises what `read` does, or InvalidCertificate; once a bundle was heard, that alone will do.
        """
        try:
            return bus_context(self._read() + self._bundle)
        except MeshError:
            if not self._bundle:
                raise
            return bus_context(self._bundle)

    def hear(self, bundle: TrustBundle | None, revision: int) -> None:
        """Take a bundle into force; one that cannot be used never replaces a good one."""
        if bundle is None or bundle.deleted:
            return
        pem = "".join(f"{anchor.strip()}\n" for anchor in bundle.anchors)
        try:
            bus_context(pem)
        except InvalidCertificate as error:
            log.warning("trust bundle not used", extra=fields(revision=revision, error=error))
            return
        self._bundle, self.revision = pem, revision
        log.info("trust bundle", extra=fields(revision=revision, anchors=len(bundle.anchors)))

    async def run(self, bus: Bus, role: str, replica: str) -> None:
        """Follow the bundle, and say which one is in force, on change and every ten seconds; for ever."""
        follower = bus.follow(subjects.trust(), self.hear)
        said, due = 0, 0.0
        try:
            while True:
                now = self._clock.monotonic()
                if self.revision and (self.revision != said or now >= due):
                    heard = await bus.publish(subjects.role_ack(role), self._ack(role, replica))
                    said, due = self.revision if heard else 0, now + ACK_SECONDS
                await anyio.sleep(_LOOK_SECONDS)
        finally:
            follower.close()

    def _ack(self, role: str, replica: str) -> Ack:
        return Ack(
            namespace="_",
            workload=role,
            uid=replica,
            revisions={subjects.trust().subject: self.revision},
            time=self._clock.now(),
            version=VERSION,
        )


def trusting_file(path: str) -> Trusting:
    """Whom the file of `TULLE_TRUST_ANCHORS_FILE` says to trust; raises InvalidSettings."""
    trusting = Trusting(lambda: _read(path, "TULLE_TRUST_ANCHORS_FILE"))
    try:
        trusting.context()
    except InvalidCertificate as error:
        raise InvalidSettings(f"TULLE_TRUST_ANCHORS_FILE={path!r}: {error}") from None
    return trusting


def seed(path: str) -> Callable[[], str]:
    """What reads the nkey seed in the file of `TULLE_NKEY_FILE`, afresh each time: it may be replaced.

    Raises InvalidSettings, which shows none of it, now or then.
    """

    def read() -> str:
        found = _read(path, "TULLE_NKEY_FILE").strip()
        if not found.startswith("SU"):
            raise InvalidSettings(f"TULLE_NKEY_FILE={path!r}: expected an nkey user seed: SU…")
        return found

    read()
    return read


def _read(path: str, variable: str) -> str:
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise InvalidSettings(f"{variable}={path!r}: cannot be read: {reason}") from None
