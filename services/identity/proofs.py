"""Proofs: a workload that holds a leaf comes back without its join token, by signing with the leaf's key.

Whoever steals a leaf and its key can do what that one workload can, for as long as the leaf can be
renewed, and nothing else: identity and workload both stand in the leaf, signed by the authority from
what was attested, and the proof may claim no other. A proof is made for one connection: whoever overheard
one and shows it again is refused by the replica that has seen it.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from common import jwt
from common.contract.identity import PROOF_AUDIENCE, PROOF_SECONDS, Proof
from common.errors import InvalidCertificate, InvalidToken
from common.x509.certificates import BACKDATED, holder, load_der, verified
from services.identity.attest import Attested

_MOST_SEEN = 100_000


class Proofs:
    """Knows proofs by leaves of `trust_domain` that lead to one of `anchors`, asked for at each proof."""

    def __init__(
        self, anchors: Callable[[], Sequence[x509.Certificate]], trust_domain: str
    ) -> None:
        self._anchors = anchors
        self._trust_domain = trust_domain
        self._seen: OrderedDict[bytes, float] = OrderedDict()

    async def attest(self, token: jwt.Jws, host: str, now: float) -> Attested:
        """Whose leaf's key signed the token; raises InvalidToken."""
        try:
            leaf = verified([load_der(der) for der in token.chain()], self._anchors(), now)
            identity, workload = holder(leaf)
        except InvalidCertificate as error:
            raise InvalidToken(f"proof: {error}") from None
        key = leaf.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise InvalidToken("proof: the leaf's key is not ECDSA")
        claims = token.verify(key, Proof)
        jwt.check(claims, PROOF_AUDIENCE, now, PROOF_SECONDS)
        if identity.trust_domain != self._trust_domain:
            raise InvalidToken(f"proof: {identity} is not of trust domain {self._trust_domain!r}")
        if claims.workload != str(workload):
            raise InvalidToken(
                f"proof: claims workload {claims.workload[:300]!r}; its leaf is of {str(workload)!r}"
            )
        self._take(token, claims.exp + jwt.SKEW, now)
        serial = f"{leaf.serial_number:x}"
        issued = leaf.not_valid_before_utc.timestamp() + BACKDATED
        return Attested(
            identity=identity, workload=workload, by="proof", evidence=serial, issued=issued
        )

    def _take(self, token: jwt.Jws, until: float, now: float) -> None:
        """Raise InvalidToken if the proof was shown before; it is remembered until it has expired."""
        # What was signed, not the signature: of that there are two spellings (r, s and r, -s).
        key = hashlib.sha256(token.signed).digest()
        if key in self._seen:
            raise InvalidToken("proof: was shown before")
        self._seen[key] = until
        while next(iter(self._seen.values())) < now or len(self._seen) > _MOST_SEEN:
            self._seen.popitem(last=False)
