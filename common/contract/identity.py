"""Who is who: what proxies ask of the identity service, and whom the mesh trusts."""

import msgspec

from common.contract.topic import Document


class CertifyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Please sign this: a PKCS#10 request (RFC 2986) for the identity that the subject names."""

    csr: bytes
    """DER; base64 in the JSON."""


class CertifyReply(msgspec.Struct, frozen=True, kw_only=True):
    """The certificate, or why there is none."""

    chain: tuple[bytes, ...] = ()
    """Leaf first, then what leads to an anchor; DER, base64 in the JSON. Empty if refused."""
    not_after: float = 0.0
    """When the leaf expires, seconds since the epoch."""
    refused: str = ""


class TrustBundle(Document, frozen=True, kw_only=True):
    """The trust anchors that everybody accepts now."""

    trust_domain: str
    anchors: tuple[str, ...]
    """Certificates, PEM."""
