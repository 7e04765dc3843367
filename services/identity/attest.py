"""What a connection's token shows: which workload, with which identity.

Three kinds are known: join tokens, which somebody who may do so issued for a workload, proofs, which a workload
that holds a leaf makes itself, and in Kubernetes the service account tokens of pods.
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
    by: Literal["join-token", "proof", "kubernetes"]
    evidence: str
    """What names the token among others: the id of a join token, the serial of a leaf, the uid of a pod."""
    issued: float = 0.0
    """When the leaf was issued that was shown, if one was."""


class Attestor(Protocol):
    """Knows one kind of token."""

    async def attest(self, token: jwt.Jws, host: str, now: float) -> Attested:
        """Who the token, shown from `host`, shows its bearer to be.

        Raises InvalidToken that says why it shows nobody, and BusUnavailable if that cannot be told now.
        """
        ...


class Accounts(Protocol):
    """Knows tokens that are not ours to read."""

    def knows(self, token: str) -> bool:
        """Whether it looks like one of them; nothing in it is to be believed yet."""
        ...

    async def attest(self, token: str, now: float) -> Attested:
        """Who the token shows its bearer to be.

        Raises InvalidToken that says why it shows nobody, and KubernetesUnavailable if that cannot be told now.
        """
        ...


class Attest:
    """Gives each token to the attestor that knows its kind; `join` and `accounts` where there is one."""

    def __init__(
        self, *, proof: Attestor, join: Attestor | None = None, accounts: Accounts | None = None
    ) -> None:
        self._join = join
        self._proof = proof
        self._accounts = accounts

    async def __call__(self, token: str, host: str, now: float) -> Attested:
        """Who the token, shown from `host`, shows its bearer to be.

        Raises InvalidToken, BusUnavailable, KubernetesUnavailable.
        """
        if not token:
            raise InvalidToken("no token; expected a join token or a proof")
        if self._accounts is not None and self._accounts.knows(token):
            return await self._accounts.attest(token, now)
        jws = jwt.parse(token)
        attestor = self._proof if jws.header.x5c else self._join
        if attestor is None:
            raise InvalidToken("join token: none are known here")
        return await attestor.attest(jws, host, now)
