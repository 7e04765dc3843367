"""The authority: a signing request is checked field by field, signed, and what was signed is read back.

It is told who asks (the bus lets nobody ask for anybody else) and signs for nobody else: the request must
name that identity and nothing more. Nothing is read from disk or sent here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, SignatureAlgorithmOID

from common.errors import InvalidCertificate
from common.names import Identity, WorkloadName
from common.x509.certificates import (
    BACKDATED,
    holder,
    load_der,
    signing_request,
    subject,
    subject_names,
    verified,
)
from common.x509.keys import generate_key, is_p256
from services.identity.roots import Pair, authority_key, key_usage

EXTENSION_REQUEST = x509.ObjectIdentifier("1.2.840.113549.1.9.14")
"""The one attribute that a request may have (RFC 2985 §5.4.2)."""
LONGEST_REQUEST = 4096
"""Bytes of a signing request, at most; an honest one has about 400."""
SHORTEST_LIFE = 1.0
"""Seconds that an issuer must have left: below, it signs nothing any more."""
LONGEST_NAME = 253
"""Characters of a DNS name, at most (RFC 1035 §2.3.4)."""


@dataclass(frozen=True)
class Issued:
    """A leaf that was just signed."""

    chain: tuple[bytes, ...]
    """Leaf first, then what leads to an anchor, DER."""
    serial: str
    not_after: float


class Authority:
    """Signs leaves that live for `leaf_seconds`, and never longer than the issuer."""

    def __init__(self, issuer: Pair, leaf_seconds: float = 86_400.0) -> None:
        self.issuer = issuer
        self._leaf_seconds = leaf_seconds

    def __repr__(self) -> str:
        return f"<Authority {self.issuer!r}>"

    def certify(self, csr: bytes, identity: Identity, workload: WorkloadName, now: float) -> Issued:
        """Sign a request (DER) of `workload`, which is known to be `identity`.

        Raises InvalidCertificate that names the field, what it held and what was expected.
        """
        key = check_request(csr, identity, workload)
        ends = min(
            now + self._leaf_seconds, _timestamp(self.issuer.certificate.not_valid_after_utc)
        )
        if ends - now < SHORTEST_LIFE:
            raise InvalidCertificate(
                "issuer: has expired; expected a new one to be put in its place"
            )
        leaf = self._sign(key, identity, workload, now, ends)
        der = leaf.public_bytes(Encoding.DER)
        self._read_back(der, key, identity, workload, now)
        return Issued(
            chain=(der, *(one.public_bytes(Encoding.DER) for one in self.issuer.chain)),
            serial=f"{leaf.serial_number:x}",
            not_after=_timestamp(leaf.not_valid_after_utc),
        )

    def prove(self, anchors: Sequence[x509.Certificate], trust_domain: str, now: float) -> None:
        """Sign for nobody and see whether the leaf leads to an anchor; raises InvalidCertificate."""
        nobody = WorkloadName("tulle", "nobody")
        identity, key = Identity("tulle", "nobody", trust_domain), generate_key()
        issued = self.certify(signing_request(identity, nobody, key), identity, nobody, now)
        verified([load_der(der) for der in issued.chain], anchors, now)

    def _sign(
        self,
        key: ec.EllipticCurvePublicKey,
        identity: Identity,
        workload: WorkloadName,
        now: float,
        ends: float,
    ) -> x509.Certificate:
        builder = x509.CertificateBuilder(
            subject_name=subject(workload),
            issuer_name=self.issuer.certificate.subject,
            public_key=key,
            serial_number=x509.random_serial_number(),
            not_valid_before=_instant(now - BACKDATED),
            not_valid_after=_instant(ends),
        )
        for extension, critical in self._extensions(key, identity):
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.issuer.key, SHA256())

    def _extensions(
        self, key: ec.EllipticCurvePublicKey, identity: Identity
    ) -> list[tuple[x509.ExtensionType, bool]]:
        """What a leaf says beside its subject, each with whether a reader must understand it."""
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        return [
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (key_usage(digital_signature=True), True),
            (x509.ExtendedKeyUsage(both), False),
            (subject_names(identity), False),
            (x509.SubjectKeyIdentifier.from_public_key(key), False),
            (authority_key(self.issuer.certificate), False),
        ]

    def _read_back(
        self,
        der: bytes,
        key: ec.EllipticCurvePublicKey,
        identity: Identity,
        workload: WorkloadName,
        now: float,
    ) -> None:
        """What left the signer is what was asked for, whatever the library between did."""
        leaf, issuer = x509.load_der_x509_certificate(der), self.issuer.certificate
        expected = {(e.oid, c, e) for e, c in self._extensions(key, identity)}
        try:
            leaf.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise InvalidCertificate(f"signed leaf: does not verify: {error}") from None
        checks = {
            "holder": holder(leaf) == (identity, workload),
            "key": _spelled(leaf.public_key()) == _spelled(key),
            "extensions": {(e.oid, e.critical, e.value) for e in leaf.extensions} == expected,
            "validity": _timestamp(leaf.not_valid_before_utc) <= now
            and leaf.not_valid_after_utc <= issuer.not_valid_after_utc,
            "algorithm": leaf.signature_algorithm_oid == SignatureAlgorithmOID.ECDSA_WITH_SHA256,
        }
        if wrong := [what for what, right in checks.items() if not right]:
            raise InvalidCertificate(f"signed leaf: {', '.join(wrong)} not as asked for")


def check_request(
    csr: bytes, identity: Identity, workload: WorkloadName
) -> ec.EllipticCurvePublicKey:
    """The key of a request that asks for what `identity` may have; raises InvalidCertificate if not."""
    if len(csr) > LONGEST_REQUEST:
        raise InvalidCertificate(f"request: {len(csr)} bytes; expected {LONGEST_REQUEST} at most")
    if len(identity.dns_name) > LONGEST_NAME or any(
        len(p) > 63 for p in identity.dns_name.split(".")
    ):
        raise InvalidCertificate(f"identity {identity}: too long for a DNS name (RFC 1035 §2.3.4)")
    # The parser has many ways to stumble, not all of them documented: each is the sender's mistake.
    try:
        request = x509.load_der_x509_csr(csr)
        key, attributes, extensions = request.public_key(), request.attributes, request.extensions
        signature_fits = request.is_signature_valid
    except Exception as error:
        raise InvalidCertificate(f"request: expected PKCS#10 in DER: {str(error)[:200]}") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not is_p256(key):
        raise InvalidCertificate("request key: expected ECDSA on P-256")
    if request.signature_algorithm_oid != SignatureAlgorithmOID.ECDSA_WITH_SHA256:
        raise InvalidCertificate("request signature: expected ECDSA with SHA-256")
    if not signature_fits:
        raise InvalidCertificate("request signature: does not match the key")
    if request.subject not in (x509.Name([]), subject(workload)):
        found = request.subject.rfc4514_string()[:200]
        raise InvalidCertificate(f"request subject: {found!r}; expected UID={workload.name}")
    for attribute in attributes:
        if attribute.oid != EXTENSION_REQUEST:
            raise InvalidCertificate(
                f"request attribute {attribute.oid.dotted_string}: not allowed"
            )
    _check_extensions(extensions, identity)
    return key


def _check_extensions(extensions: x509.Extensions, identity: Identity) -> None:
    names: x509.SubjectAlternativeName | None = None
    for extension in extensions:
        match extension.value:
            case x509.SubjectAlternativeName():
                names = extension.value
            case x509.BasicConstraints(ca=False):
                pass
            case x509.BasicConstraints():
                raise InvalidCertificate("request basic constraints: a CA; expected none")
            case _:
                raise InvalidCertificate(
                    f"request extension {extension.oid.dotted_string}: not allowed"
                )
    asked, allowed = list(names or ()), list(subject_names(identity))
    if foreign := [name for name in asked if name not in allowed]:
        shown = str(getattr(foreign[0], "value", foreign[0]))[:200]
        raise InvalidCertificate(
            f"request name {shown!r}: expected {identity.uri} and its DNS name"
        )
    if allowed[0] not in asked or len(asked) != len(set(asked)):
        raise InvalidCertificate(f"request names: expected {identity.uri} once")


def _spelled(key: object) -> bytes:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return b""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _instant(when: float) -> datetime:
    return datetime.fromtimestamp(int(when), UTC)


def _timestamp(when: datetime) -> float:
    return when.timestamp()
