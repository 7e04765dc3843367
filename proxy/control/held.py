"""A leaf that a proxy holds, and what is made of it."""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from common import jwt
from common.contract.events import ShownLeaf
from common.contract.identity import PROOF_AUDIENCE, PROOF_SECONDS, Proof
from common.errors import InvalidCertificate
from common.names import Identity, WorkloadName
from common.x509 import (
    chain_pem,
    client_context,
    holder,
    key_pem,
    server_context,
    signed_by,
    verified,
)
from proxy.control.trust import Trust


@dataclass(frozen=True, eq=False)
class Held:
    """A leaf and what is made of it: TLS contexts for new handshakes. Never changed, only replaced."""

    identity: Identity
    workload: WorkloadName
    not_after: float
    """When the leaf ends, seconds since the epoch."""
    server_context: ssl.SSLContext = field(repr=False)
    client_context: ssl.SSLContext = field(repr=False)
    trust_revision: int
    """The revision of the trust bundle that the contexts believe; 0: what the proxy was started with."""
    chain: tuple[x509.Certificate, ...] = field(repr=False)
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    def valid(self, now: float) -> bool:
        """Whether the leaf is still in force: with one that is not, no mutual TLS is spoken."""
        return now < self.not_after

    @property
    def pem(self) -> bytes:
        """Key and chain as they are kept: in one piece, so that they always belong together."""
        return key_pem(self.key) + chain_pem(self.chain)

    @cached_property
    def shown(self) -> ShownLeaf:
        """What may be told of the leaf."""
        return ShownLeaf(
            serial=f"{self.chain[0].serial_number:x}",
            identity=str(self.identity),
            not_after=self.not_after,
            signed_by=tuple(signed_by(one) for one in self.chain),
        )

    def proof(self, now: float) -> str:
        """A token that shows, for a minute, that we hold the key of the leaf."""
        claims = Proof(
            aud=PROOF_AUDIENCE, iat=now, exp=now + PROOF_SECONDS, workload=str(self.workload)
        )
        chain = [one.public_bytes(Encoding.DER) for one in self.chain]
        return jwt.sign(claims, self.key, x5c=chain)


def believing(held: Held, trust: Trust) -> Held:
    """The same leaf, for handshakes with whom the mesh trusts now, whether they still trust the leaf or not."""
    return replace(
        held,
        server_context=server_context(held.pem, trust.pem),
        client_context=client_context(held.pem, trust.pem),
        trust_revision=trust.revision,
    )


def hold(
    key: ec.EllipticCurvePrivateKey,
    chain: Sequence[x509.Certificate],
    identity: Identity,
    workload: WorkloadName,
    trust: Trust,
    now: float,
) -> Held:
    """Make of a key and its chain what a proxy needs; raises InvalidCertificate unless both are its own."""
    leaf = verified(chain, trust.anchors, now)
    if holder(leaf) != (identity, workload):
        found = leaf.subject.rfc4514_string()
        raise InvalidCertificate(f"certificate of {found}, not of {workload} with {identity}")
    if leaf.public_key() != key.public_key():
        raise InvalidCertificate("certificate for another key than ours")
    pem = key_pem(key) + chain_pem(chain)
    return Held(
        identity=identity,
        workload=workload,
        not_after=leaf.not_valid_after_utc.timestamp(),
        server_context=server_context(pem, trust.pem),
        client_context=client_context(pem, trust.pem),
        trust_revision=trust.revision,
        chain=tuple(chain),
        key=key,
    )
