"""Keys, signing requests, certificates and TLS contexts.

    keys          P-256, the one kind that the mesh uses
    certificates  signing requests and leaves, as values
    tls           contexts for proxies and for the bus, and who is at the other end

A leaf says who a workload is in three places: the SPIFFE ID as its only URI name (SPIFFE X.509-SVID §2),
the DNS name for SNI and hostname checks, and the workload in the subject's UID. (The common name would
be the habit, but it ends after 64 characters and a pod's name after 253.)

TLS between proxies is 1.3 only, both sides with a certificate, without session resumption: what was
checked once is checked at every connection.
"""

from common.x509.certificates import (
    BACKDATED,
    anchor_of,
    chain_pem,
    first_of,
    holder,
    key_id,
    load_certificates,
    load_der,
    moment,
    signed_by,
    signing_request,
    verified,
)
from common.x509.keys import (
    fingerprint,
    generate_key,
    is_p256,
    key_pem,
    load_key,
    load_public_keys,
    public_pem,
)
from common.x509.tls import ALPN, bus_context, client_context, peer_identity, server_context, show

__all__ = [
    "ALPN",
    "BACKDATED",
    "anchor_of",
    "bus_context",
    "chain_pem",
    "client_context",
    "fingerprint",
    "first_of",
    "generate_key",
    "holder",
    "is_p256",
    "key_id",
    "key_pem",
    "load_certificates",
    "load_der",
    "load_key",
    "load_public_keys",
    "moment",
    "peer_identity",
    "public_pem",
    "server_context",
    "show",
    "signed_by",
    "signing_request",
    "verified",
]
