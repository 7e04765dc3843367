"""A connection knocks: its token is attested, its permissions follow, and it is let in or not.

The answer to a refused one says nothing of the reason: that is told to the log and the bus.
"""

from collections.abc import Mapping

from common.clock import Clock
from common.errors import BusUnavailable, InvalidToken
from services.identity import callout
from services.identity.callout import Knock
from services.identity.journal import Journal
from services.identity.nkey import KeyPair
from services.identity.permissions import of_workload
from services.identity.verdicts import Judge

CONCURRENCY = 256
"""Connections looked at at once; the next ones wait, and NATS gives each of them 30 s."""
_SHOWN = 64


class Admission:
    """Answers what NATS asks on `permissions.CALLOUT`."""

    def __init__(self, attest: Judge, account: KeyPair, journal: Journal, clock: Clock) -> None:
        self._attest = attest
        self._account = account
        self._journal = journal
        self._clock = clock

    async def __call__(self, payload: bytes, headers: Mapping[str, str]) -> bytes:
        """The answer: a signed yes or no; nothing (which is a no) to what is no server's question."""
        try:
            knock = callout.read(payload, self._account.public, self._clock.now())
        except InvalidToken as error:
            message = f"not a question of NATS: {error}"
            await self._journal.tell("refused", message, reason=error.reason)
            return b""
        try:
            return await self._admit(knock)
        except (InvalidToken, BusUnavailable) as error:
            await self._journal.tell("refused", str(error), reason=error.reason, **_shown(knock))
            return callout.refuse(knock, self._account, self._clock.now())

    async def _admit(self, knock: Knock) -> bytes:
        now = self._clock.now()
        who = await self._attest(knock.token, knock.host, now)
        permissions = of_workload(who.identity, who.workload)
        answer = callout.admit(knock, self._account, str(who.workload), permissions, now)
        await self._journal.tell(
            "admitted",
            f"{who.workload} may use the bus",
            workload=str(who.workload),
            identity=str(who.identity),
            by=who.by,
            evidence=who.evidence,
            **_shown(knock),
        )
        return answer


def _shown(knock: Knock) -> dict[str, str]:
    # What it calls itself comes from whoever knocks: short, and never believed.
    return {"host": knock.host[:_SHOWN], "client": knock.client[:_SHOWN]}
