"""What a connection's token shows: which workload, with which identity.

Two kinds are known: join tokens, which somebody who may do so issued for a workload, and proofs, which a
workload that holds a leaf makes itself. Each is an Attestor; others (Kubernetes service account tokens)
are one more.
"""

from typing import Literal, Protocol

import msgspec

from common import jwt
from common.errors import InvalidToken
from common.names import Identity, WorkloadName


class Attested(msgspec.Struct, frozen=True, kw_only=True):
    """Who somebody has shown to be."""

    identity: Identity
    workload: WorkloadName
    by: Literal["join-token", "proof"]
    evidence: str
    """What names the token among others, for the log: the id of a join token, the serial of a leaf."""


class Attestor(Protocol):
    """Knows one kind of token."""

    async def attest(self, token: jwt.Jws, host: str, now: float) -> Attested:
        """Who the token, shown from `host`, shows its bearer to be.

        Raises InvalidToken that says why it shows nobody, and BusUnavailable if that cannot be told now.
        """
        ...


class Attest:
    """Gives each token to the attestor that knows its kind."""

    def __init__(self, *, join: Attestor, proof: Attestor) -> None:
        self._join = join
        self._proof = proof

    async def __call__(self, token: str, host: str, now: float) -> Attested:
        """Who the token, shown from `host`, shows its bearer to be; raises InvalidToken, BusUnavailable."""
        if not token:
            raise InvalidToken("no token; expected a join token or a proof")
        jws = jwt.parse(token)
        attestor = self._proof if jws.header.x5c else self._join
        return await attestor.attest(jws, host, now)
