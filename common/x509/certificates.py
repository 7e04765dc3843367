"""Signing requests and certificates of workloads, as values: nothing is read or connected here."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from common.errors import InvalidCertificate, InvalidName
from common.names import Identity, WorkloadName

T = TypeVar("T")
_Uri = x509.UniformResourceIdentifier

LONGEST_CHAIN = 4
"""Certificates between a leaf and its anchor, both counted, at most."""
BACKDATED = 20.0
"""Seconds before its signing at which a leaf begins: the other side's clock may be that late."""


def signing_request(
    identity: Identity, workload: WorkloadName, key: ec.EllipticCurvePrivateKey
) -> bytes:
    """A PKCS#10 request (RFC 2986, DER) for a leaf of `identity`, held by `workload`."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject(workload))
    builder = builder.add_extension(subject_names(identity), critical=False)
    return builder.sign(key, SHA256()).public_bytes(serialization.Encoding.DER)


def subject(workload: WorkloadName) -> x509.Name:
    """The subject of a workload's leaf."""
    return x509.Name([x509.NameAttribute(NameOID.USER_ID, workload.name)])


def subject_names(identity: Identity) -> x509.SubjectAlternativeName:
    """The two names of a leaf: SPIFFE ID and DNS name."""
    return x509.SubjectAlternativeName(
        [x509.UniformResourceIdentifier(identity.uri), x509.DNSName(identity.dns_name)]
    )


def load_certificates(pem: bytes) -> list[x509.Certificate]:
    """Read one or more certificates in PEM; raises InvalidCertificate."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise InvalidCertificate("certificates: expected one or more in PEM") from None


def load_der(der: bytes) -> x509.Certificate:
    """Read one certificate; raises InvalidCertificate."""
    try:
        return x509.load_der_x509_certificate(der)
    except ValueError:
        raise InvalidCertificate("certificate: expected X.509 in DER") from None


def chain_pem(chain: Sequence[x509.Certificate]) -> bytes:
    """Certificates as PEM, in the order given."""
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain)


def holder(leaf: x509.Certificate) -> tuple[Identity, WorkloadName]:
    """Whose leaf it is, as it says itself; raises InvalidCertificate if it is not a workload's leaf.

    It says nothing of whether the leaf is to be believed: whoever asks has verified its chain.
    """
    try:
        constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints).value
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        identity = Identity.parse(_only(names.get_values_for_type(_Uri), "URI name, its SPIFFE ID"))
        dns_name = _only(names.get_values_for_type(x509.DNSName), "DNS name")
        uid = _only([a.value for a in leaf.subject.get_attributes_for_oid(NameOID.USER_ID)], "UID")
        workload = WorkloadName(identity.namespace, str(uid))
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError, InvalidName) as error:
        raise InvalidCertificate(f"leaf: {error}") from None
    if constraints.ca:
        raise InvalidCertificate("leaf: is a CA; expected a certificate that signs nothing")
    if dns_name != identity.dns_name:
        raise InvalidCertificate(f"leaf: DNS name {dns_name!r}; expected {identity.dns_name!r}")
    return identity, workload


def _only(values: Sequence[T], what: str) -> T:
    if len(values) != 1:
        raise InvalidCertificate(f"leaf: {len(values)} times a {what}; expected one")
    return values[0]


def verified(
    chain: Sequence[x509.Certificate], anchors: Sequence[x509.Certificate], now: float
) -> x509.Certificate:
    """The leaf of a chain, if it leads to an anchor at `now` (RFC 5280 §6); raises InvalidCertificate."""
    if not 0 < len(chain) <= LONGEST_CHAIN:
        raise InvalidCertificate(
            f"{len(chain)} certificates; expected the leaf and what leads to an anchor,"
            f" {LONGEST_CHAIN} at most"
        )
    policy = PolicyBuilder().store(Store(list(anchors))).max_chain_depth(LONGEST_CHAIN)
    verifier = policy.time(datetime.fromtimestamp(now, UTC)).build_client_verifier()
    try:
        verifier.verify(chain[0], list(chain[1:]))
    except VerificationError as error:
        raise InvalidCertificate(f"the leaf does not lead to an anchor: {error}") from None
    return chain[0]


def moment(leaf: x509.Certificate, part: float) -> float:
    """When that part of the leaf's life is over, in seconds since the epoch: 0 is its signing, 1 its end."""
    signed = leaf.not_valid_before_utc.timestamp() + BACKDATED
    return signed + part * (leaf.not_valid_after_utc.timestamp() - signed)


def key_id(certificate: x509.Certificate) -> str:
    """What names a certificate's key: its subject key identifier, hexadecimal (RFC 5280 §4.2.1.2)."""
    try:
        own = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        own = x509.SubjectKeyIdentifier.from_public_key(certificate.public_key())
    return own.digest.hex()


def signed_by(certificate: x509.Certificate) -> str:
    """What names the key that signed it, hexadecimal; empty if it does not say (RFC 5280 §4.2.1.1)."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except x509.ExtensionNotFound:
        return ""
    return (found.key_identifier or b"").hex()


def anchor_of(chain: Sequence[x509.Certificate], anchors: Sequence[x509.Certificate]) -> str:
    """The key identifier of the anchor to which a chain leads first; empty if it names none of them.

    An anchor that is vouched for by another one stands in the chain as well: what it is below counts first.
    """
    return first_of([signed_by(one) for one in chain], [key_id(anchor) for anchor in anchors])


def first_of(signers: Sequence[str], anchors: Sequence[str]) -> str:
    """The same, of key identifiers."""
    return next((signer for signer in signers if signer in anchors), "")
