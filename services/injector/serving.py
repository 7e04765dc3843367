"""The certificate that the webhook shows to the API server, made by the injector for itself.

It signs nothing but itself, and the API server's `caBundle` names it as it is: whoever has its key can
pretend to be the webhook, and nobody else. Its successor is in the bundle before it is shown.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from common.errors import InvalidCertificate
from common.x509 import chain_pem, fingerprint, generate_key, key_pem, load_certificates, load_key

DAY = 86_400.0
LIFE = 30 * DAY
RENEW_AT = 0.7
"""Which part of its life may be over before it gets a successor."""
_BACKDATED = 300.0


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """What the Secret holds; all PEM. Its key never shows in a `repr`."""

    certificate: bytes
    key: bytes
    previous: bytes = b""
    """The certificate before this one, which a replica may still show."""

    def __repr__(self) -> str:
        return f"<Serving {len(self.certificate)} bytes>"

    @property
    def held(self) -> bytes:
        """Key and certificate, for a TLS context."""
        return self.key + self.certificate

    @property
    def bundle(self) -> bytes:
        """What the API server must trust."""
        return self.certificate + self.previous


def make(hosts: Sequence[str], now: float, previous: bytes = b"", life: float = LIFE) -> Serving:
    """A new key and certificate for a server that is reached at `hosts`."""
    key = generate_key()
    # Two of one name in a bundle would be taken for one another (OpenSSL looks them up by name).
    mark = fingerprint(key.public_key())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Tulle injector {mark}")])
    builder = (
        x509.CertificateBuilder(subject_name=name, issuer_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(int(now - _BACKDATED), UTC))
        .not_valid_after(datetime.fromtimestamp(int(now + life), UTC))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(h) for h in hosts]), False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
    )
    certificate = chain_pem([builder.sign(key, SHA256())])
    return Serving(certificate=certificate, key=key_pem(key), previous=previous)


def is_good(serving: Serving, hosts: Sequence[str], now: float) -> bool:
    """True if it fits its key and these names, and enough of its life is left."""
    try:
        (certificate,) = load_certificates(serving.certificate)
        key = load_key(serving.key)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (InvalidCertificate, ValueError, x509.ExtensionNotFound):
        return False
    begins = certificate.not_valid_before_utc.timestamp()
    ends = certificate.not_valid_after_utc.timestamp()
    return (
        certificate.public_key() == key.public_key()
        and names.get_values_for_type(x509.DNSName) == list(hosts)
        and begins <= now < begins + RENEW_AT * (ends - begins)
    )
