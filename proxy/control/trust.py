"""Whom a proxy trusts: the anchors it was started with, until the bus names others; those are kept."""

import logging
import ssl
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
from cryptography import x509

from common.contract.identity import TrustBundle
from common.errors import InvalidCertificate, InvalidSettings
from common.files import replace
from common.log import fields
from common.x509 import anchor_of, bus_context, load_certificates

log = logging.getLogger(__name__)

TRUST_FILE = "trust.json"


class _Kept(msgspec.Struct, frozen=True):
    revision: int
    bundle: TrustBundle


class Trust:
    """The trust anchors in force. A bundle that is empty, broken or foreign never replaces a good one.

    Raises InvalidSettings if the anchors that the proxy is started with cannot be used.
    """

    def __init__(self, trust_domain: str, state_dir: Path, anchors_file: Path) -> None:
        self._trust_domain = trust_domain
        self._path = state_dir / TRUST_FILE
        self._anchors_file = anchors_file
        self._given = _given(anchors_file)
        self.revision = 0
        """Of the bundle in force; 0: what the proxy was started with."""
        self.signing = ""
        """Key identifier of the anchor below which leaves are signed now; empty if that is not known."""
        self.removed_at = 0
        """The first revision that this process saw without an anchor that was there before; 0: none was."""
        self.pem = self._given
        self.anchors: list[x509.Certificate] = load_certificates(self._given.encode())
        self._reload()

    def bus_context(self) -> ssl.SSLContext:
        """What the next connection to the bus is made with.

        The bus may be believed on the word of the bundle, or of the file that the proxy was started with,
        as it is now: whoever was away during a rotation finds back with a new file.
        """
        with suppress(InvalidSettings):
            self._given = _given(self._anchors_file)
        return bus_context(self.pem if self.pem == self._given else self.pem + self._given)

    def fits(self, chain: Sequence[x509.Certificate]) -> bool:
        """Whether a leaf is below the anchor that signs now: if not, another is to be had."""
        return not self.signing or anchor_of(chain, self.anchors) == self.signing

    def update(self, bundle: TrustBundle | None, revision: int) -> bool:
        """Take a newer bundle into force, and keep it; False if it is not to be used."""
        if bundle is None or revision <= self.revision:
            return False
        try:
            changed = self._use(bundle, revision)
        except InvalidCertificate as error:
            log.warning("trust bundle not used", extra=fields(revision=revision, error=error))
            return False
        try:
            replace(self._path, msgspec.json.encode(_Kept(revision, bundle)))
        except OSError as error:
            log.warning("trust bundle not kept", extra=fields(path=self._path, error=error))
        if changed:
            log.info("trust bundle", extra=fields(revision=revision, anchors=len(self.anchors)))
        return True

    def _use(self, bundle: TrustBundle, revision: int) -> bool:
        """True if it names other anchors than before; raises InvalidCertificate."""
        if bundle.deleted or bundle.trust_domain != self._trust_domain:
            raise InvalidCertificate(
                f"it is of {bundle.trust_domain!r}{' and deleted' if bundle.deleted else ''};"
                f" expected {self._trust_domain!r}"
            )
        pem = "".join(anchor.strip() + "\n" for anchor in bundle.anchors)
        anchors = load_certificates(pem.encode())
        bus_context(pem)  # OpenSSL can read them too
        changed = anchors != self.anchors
        if any(anchor not in anchors for anchor in self.anchors):
            self.removed_at = revision
        self.pem, self.anchors = pem, anchors
        self.revision, self.signing = revision, bundle.signing
        return changed

    def _reload(self) -> None:
        try:
            kept = msgspec.json.decode(self._path.read_bytes(), type=_Kept)
            self._use(kept.bundle, kept.revision)
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, InvalidCertificate) as error:
            log.warning(
                "kept trust bundle not used: starting with the given anchors",
                extra=fields(path=self._path, error=error),
            )


def _given(anchors_file: Path) -> str:
    try:
        text = anchors_file.read_text("ascii")
        load_certificates(text.encode())
        bus_context(text)
    except (OSError, UnicodeDecodeError, InvalidCertificate) as error:
        raise InvalidSettings(f"TULLE_TRUST_ANCHORS_FILE={anchors_file}: {error}") from None
    return text
