"""Who is who: what proxies ask of the identity service, and whom the mesh trusts."""

import msgspec

from common.contract.topic import Document
from common.jwt import Claims

PROOF_AUDIENCE = "bus.tulle.dev"
PROOF_SECONDS = 60.0
"""How long a proof lives: it is made for one connection."""


class Proof(Claims, frozen=True, kw_only=True):
    """What a workload that has a leaf says when it connects: a token signed by the leaf's key (`x5c`).

    It travels in the handshake of the connection to the bus only, never in a message.
    """

    workload: str
    """`namespace/name`: the one that the leaf names."""


class CertifyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Please sign this: a PKCS#10 request (RFC 2986) for the identity that the subject names."""

    csr: bytes
    """DER; base64 in the JSON."""


class CertifyReply(msgspec.Struct, frozen=True, kw_only=True):
    """The certificate. (Where there is none, the answer is an error that says why.)"""

    chain: tuple[bytes, ...]
    """Leaf first, then what leads to an anchor; DER, base64 in the JSON."""
    not_after: float
    """When the leaf expires, seconds since the epoch."""


class TrustBundle(Document, frozen=True, kw_only=True):
    """The trust anchors that everybody accepts now."""

    trust_domain: str
    anchors: tuple[str, ...]
    """Certificates, PEM."""
