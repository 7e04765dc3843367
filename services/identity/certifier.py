"""Answers `certify` on the bus: who asks is known from the subject, what may be signed from that."""

from collections.abc import Awaitable, Callable

from common.clock import Clock
from common.contract import subjects
from common.contract.identity import CertifyReply, CertifyRequest
from common.errors import InvalidCertificate, InvalidToken, Refused
from common.names import Identity, WorkloadName
from services.identity.authority import Authority
from services.identity.flood import Flood
from services.identity.journal import Journal

_BURST = 20
_PER_SECOND = 1.0

Present = Callable[[Identity, WorkloadName], Awaitable[None]]
"""Raises InvalidToken if there is no such workload any more."""


class Certifier:
    """Signs for whoever asks, as the bus vouches for them, at a bounded rate each."""

    def __init__(
        self,
        authority: Callable[[], Authority],
        trust_domain: str,
        journal: Journal,
        clock: Clock,
        *,
        present: Present | None = None,
    ) -> None:
        self._authority = authority
        self._trust_domain = trust_domain
        self._journal = journal
        self._clock = clock
        self._present = present
        self._flood = Flood(clock, _BURST, _PER_SECOND)

    async def __call__(self, subject: str, request: CertifyRequest) -> CertifyReply:
        """The certificate; raises InvalidName (the subject) or Refused, which says why."""
        identity, workload = subjects.who_certifies(subject, self._trust_domain)
        who = {"workload": str(workload), "identity": str(identity)}
        if not self._flood.allows(workload):
            message = "asks for certificates too often"
            await self._journal.tell("refused", message, reason=Refused.reason, **who)
            raise Refused("too many requests for certificates; try again in a few seconds")
        if self._present is not None:
            try:
                await self._present(identity, workload)
            except InvalidToken as error:
                await self._journal.tell("refused", str(error), reason=error.reason, **who)
                raise Refused(str(error)) from None
        now = self._clock.now()
        try:
            issued = self._authority().certify(request.csr, identity, workload, now)
        except InvalidCertificate as error:
            await self._journal.tell("refused", str(error), reason=error.reason, **who)
            raise Refused(str(error)) from None
        lives = f"{issued.not_after - now:.0f}"
        await self._journal.tell(
            "issued",
            f"a certificate for {workload}",
            **who,
            serial=issued.serial,
            not_after=f"{issued.not_after:.0f}",
            seconds=lives,
        )
        return CertifyReply(chain=issued.chain, not_after=issued.not_after)
