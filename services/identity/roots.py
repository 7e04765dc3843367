"""What everything else hangs from: trust anchors, issuers, and the certificate of NATS itself.

An anchor signs issuers and is then kept away; an issuer signs leaves, and may not make issuers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from common.x509.certificates import BACKDATED
from common.x509.keys import generate_key

DAY = 86_400.0
ANCHOR_LIFE = 3650 * DAY
ISSUER_LIFE = 365 * DAY
RENEW_AT = 0.7
"""Which part of the life of an issuer, or of NATS's certificate, may be over before it is renewed."""
NODE = "node.nats.tulle"
"""The name in NATS's certificate by which its nodes know each other; the authority signs it for nobody."""


@dataclass(frozen=True, repr=False)
class Pair:
    """A key with the certificates that speak for it, its own first."""

    chain: tuple[x509.Certificate, ...]
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate(self) -> x509.Certificate:
        """The key's own certificate."""
        return self.chain[0]

    def __repr__(self) -> str:
        ends = self.certificate.not_valid_after_utc
        return f"<Pair {self.certificate.subject.rfc4514_string()} until {ends:%F %T}>"


def make_anchor(trust_domain: str, now: float, life: float = ANCHOR_LIFE) -> Pair:
    """A self-signed trust anchor."""
    key = generate_key()
    name = _name(f"anchor.{trust_domain}")
    builder = _begin(name, name, key.public_key(), now, now + life)
    # Below it an issuer, and between the two, in a rotation, the anchor that it vouches for.
    builder = _as_authority(builder, path_length=2)
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = builder.add_extension(_authority_key(own), critical=False)
    return Pair((builder.sign(key, SHA256()),), key)


def cross_sign(new: x509.Certificate, old: Pair, now: float) -> x509.Certificate:
    """The anchor `new` once more, vouched for by the anchor `old`, for those who know only that one.

    It ends with whichever of the two ends first.
    """
    key = new.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    ends = _until(old, new.not_valid_after_utc.timestamp(), 0)
    builder = _begin(new.subject, old.certificate.subject, key, now, ends)
    builder = _as_authority(builder, path_length=1)
    builder = builder.add_extension(authority_key(old.certificate), critical=False)
    return builder.sign(old.key, SHA256())


def make_issuer(anchor: Pair, trust_domain: str, now: float, life: float = ISSUER_LIFE) -> Pair:
    """An issuer below `anchor`, which it does not outlive."""
    key = generate_key()
    name = _name(f"issuer.{trust_domain}")
    builder = _begin(
        name, anchor.certificate.subject, key.public_key(), now, _until(anchor, now, life)
    )
    builder = _as_authority(builder, path_length=0)
    builder = builder.add_extension(authority_key(anchor.certificate), critical=False)
    return Pair((builder.sign(anchor.key, SHA256()),), key)


def make_server(
    issuer: Pair,
    hosts: Sequence[str],
    now: float,
    life: float = ISSUER_LIFE,
    *,
    routes: bool = False,
) -> Pair:
    """A certificate for a TLS server that is reached at `hosts`: names or IP addresses.

    With `routes` it may be shown to other nodes of a NATS cluster as well, as their client.
    """
    key = generate_key()
    name = _name("nats")
    builder = _begin(
        name, issuer.certificate.subject, key.public_key(), now, _until(issuer, now, life)
    )
    builder = builder.add_extension(
        x509.BasicConstraints(ca=False, path_length=None), critical=True
    )
    builder = builder.add_extension(key_usage(digital_signature=True), critical=True)
    uses = [ExtendedKeyUsageOID.SERVER_AUTH, *([ExtendedKeyUsageOID.CLIENT_AUTH] if routes else [])]
    builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
    builder = builder.add_extension(authority_key(issuer.certificate), critical=False)
    known = (*hosts, NODE) if routes else hosts
    names = x509.SubjectAlternativeName([_host(host) for host in known])
    builder = builder.add_extension(names, critical=False)
    return Pair((builder.sign(issuer.key, SHA256()), *issuer.chain), key)


def is_old(certificate: x509.Certificate, now: float) -> bool:
    """Whether so much of its life is over that it is to be renewed."""
    begins = certificate.not_valid_before_utc.timestamp()
    ends = certificate.not_valid_after_utc.timestamp()
    return (now - begins) / (ends - begins) > RENEW_AT


def has_routes(server: x509.Certificate) -> bool:
    """Whether a certificate of `make_server` was made with `routes`."""
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return NODE in names.get_values_for_type(x509.DNSName)


def key_usage(
    *, digital_signature: bool = False, signs_certificates: bool = False
) -> x509.KeyUsage:
    """What a key may be used for (RFC 5280 §4.2.1.3); nothing else than what is named."""
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def authority_key(signer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Names the key of `signer`, as its own certificate does (RFC 5280 §4.2.1.1)."""
    return _authority_key(
        signer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    )


def _authority_key(own: x509.SubjectKeyIdentifier) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _begin(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: float,
    until: float,
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(datetime.fromtimestamp(int(now - BACKDATED), UTC))
    builder = builder.not_valid_after(datetime.fromtimestamp(int(until), UTC))
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _as_authority(builder: x509.CertificateBuilder, path_length: int) -> x509.CertificateBuilder:
    constraints = x509.BasicConstraints(ca=True, path_length=path_length)
    builder = builder.add_extension(constraints, critical=True)
    return builder.add_extension(key_usage(signs_certificates=True), critical=True)


def _until(signer: Pair, now: float, life: float) -> float:
    return min(now + life, signer.certificate.not_valid_after_utc.timestamp())


def _name(common: str) -> x509.Name:
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tulle")
    # The common name of an authority is for people and may not be longer than 64 characters.
    return x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
