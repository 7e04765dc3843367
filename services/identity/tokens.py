"""Join tokens: whoever holds the tokens key says which workload may join, with which identity.

A token is a JWT (ES256) that lives for an hour unless told otherwise. It is shown in the handshake of
the connection to the bus and nowhere else, and attests once: afterwards there is a leaf.
"""

import secrets
from collections.abc import Callable, Sequence

from cryptography.hazmat.primitives.asymmetric import ec

from common import jwt
from common.errors import InvalidName, InvalidToken
from common.names import Identity, WorkloadName
from common.x509.keys import fingerprint, load_key
from services.identity.attest import Attested
from services.identity.spent import Ledger, spend

AUDIENCE = "identity.tulle.dev"
LONGEST = 366 * 86_400.0
"""Seconds for which a join token may be valid, at most."""


class JoinToken(jwt.Claims, frozen=True, kw_only=True):
    """What a join token says."""

    iss: str
    """The trust domain: a token of another mesh is foreign."""
    jti: str
    namespace: str
    service_account: str
    workload: str


def issue(
    tokens_key_pem: bytes,
    workload: WorkloadName,
    service_account: str,
    *,
    trust_domain: str,
    lifetime: float = 3600,
    now: float,
) -> str:
    """A token with which `workload` may join as `service_account` for `lifetime` seconds from `now`.

    Raises InvalidCertificate (the key), InvalidName (the identity) or InvalidToken (the lifetime).
    """
    Identity(workload.namespace, service_account, trust_domain)
    if not 0 < lifetime <= LONGEST:
        raise InvalidToken(f"lifetime {lifetime:g} s: expected more than 0, {LONGEST:.0f} at most")
    claims = JoinToken(
        aud=AUDIENCE,
        iss=trust_domain,
        jti=secrets.token_hex(16),
        iat=int(now),
        exp=int(now) + lifetime,
        namespace=workload.namespace,
        service_account=service_account,
        workload=workload.name,
    )
    key = load_key(tokens_key_pem)
    return jwt.sign(claims, key, kid=fingerprint(key.public_key()))


class JoinTokens:
    """Knows join tokens that one of `keys` signed for `trust_domain`, each of them once, as `ledger` says.

    `keys` are asked afresh each time.
    """

    def __init__(
        self,
        keys: Callable[[], Sequence[ec.EllipticCurvePublicKey]],
        trust_domain: str,
        ledger: Ledger,
    ) -> None:
        self._keys = keys
        self._trust_domain = trust_domain
        self._ledger = ledger

    async def attest(self, token: jwt.Jws, host: str, now: float) -> Attested:
        """Who the token says its bearer is; raises InvalidToken, and BusUnavailable as the ledger does."""
        known = {fingerprint(key): key for key in self._keys()}
        key = known.get(token.header.kid)
        if key is None:
            raise InvalidToken(f"join token: signed by unknown key {token.header.kid[:64]!r}")
        claims = token.verify(key, JoinToken)
        jwt.check(claims, AUDIENCE, now, LONGEST)
        if claims.iss != self._trust_domain:
            raise InvalidToken(
                f"join token: for trust domain {claims.iss!r}; expected {self._trust_domain!r}"
            )
        try:
            workload = WorkloadName(claims.namespace, claims.workload)
            identity = Identity(claims.namespace, claims.service_account, self._trust_domain)
        except InvalidName as error:
            raise InvalidToken(f"join token: {error}") from None
        await spend(self._ledger, claims.jti, host, now, claims.exp)
        return Attested(identity=identity, workload=workload, by="join-token", evidence=claims.jti)
