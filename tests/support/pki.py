"""A small mesh's keys and certificates, made by the real authority."""

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from common.clock import SystemClock
from common.names import Identity, WorkloadName
from common.x509 import chain_pem, generate_key, key_pem, load_der, signing_request
from services.identity.authority import Authority
from services.identity.roots import Pair, make_anchor, make_issuer


@dataclass(frozen=True)
class Leaf:
    """A workload's key and chain, as its proxy holds them."""

    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...]

    @property
    def pem(self) -> bytes:
        """Key and chain, as `server_context` and `client_context` take them."""
        return key_pem(self.key) + chain_pem(self.chain)


class Pki:
    """An anchor, an issuer below it, and leaves for whoever is named."""

    def __init__(self, now: float | None = None, trust_domain: str = "cluster.local") -> None:
        self.now = SystemClock.now() if now is None else now
        self.trust_domain = trust_domain
        self.anchor: Pair = make_anchor(trust_domain, self.now)
        self.issuer: Pair = make_issuer(self.anchor, trust_domain, self.now)

    @property
    def anchors_pem(self) -> str:
        """The trust anchors."""
        return chain_pem(self.anchor.chain).decode()

    def leaf(
        self, account: str, workload: str = "", seconds: float = 3600, namespace: str = "shop"
    ) -> Leaf:
        """A leaf for a service account, held by `workload` (its own name if none is given)."""
        identity = Identity(namespace, account, self.trust_domain)
        name = WorkloadName(namespace, workload or account)
        key = generate_key()
        authority = Authority(self.issuer, seconds)
        issued = authority.certify(signing_request(identity, name, key), identity, name, self.now)
        return Leaf(key, tuple(load_der(der) for der in issued.chain))
