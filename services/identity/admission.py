"""A connection knocks: who it is is attested, its permissions follow, and it is let in or not.

A workload shows a token, a person signs with their key.

The answer to a refused one says nothing of the reason: that is told to the log and the bus.
"""

from collections.abc import Mapping

from common.clock import Clock
from common.errors import BusUnavailable, InvalidToken, KubernetesUnavailable
from services.identity import accounts, callout
from services.identity.callout import Knock
from services.identity.flood import Flood
from services.identity.journal import Journal
from services.identity.keyring import Keyring
from services.identity.nkey import KeyPair
from services.identity.people import People
from services.identity.permissions import of_person, of_workload
from services.identity.verdicts import Judge

CONCURRENCY = 256
"""Connections looked at at once; the next ones wait, and NATS gives each of them 30 s."""
_SHOWN = 64
_BURST = 60
_PER_SECOND = 0.5
"""Connections of one workload: NATS counts none, and a proxy needs one."""


class Admission:
    """Answers what NATS asks on `permissions.CALLOUT`."""

    def __init__(
        self,
        attest: Judge,
        people: People,
        keyring: Keyring,
        journal: Journal,
        clock: Clock,
    ) -> None:
        self._attest = attest
        self._people = people
        self._keyring = keyring
        self._journal = journal
        self._clock = clock
        self._flood = Flood(clock, _BURST, _PER_SECOND)

    async def __call__(self, payload: bytes, headers: Mapping[str, str]) -> bytes:
        """The answer: a signed yes or no; nothing (which is a no) to what is no server's question."""
        now = self._clock.now()
        sender = headers.get(callout.SERVER_KEY, "")
        accounts, boxes = self._keyring.accounts, self._keyring.boxes
        try:
            knock = callout.read(payload, sender, boxes.values(), accounts, now)
        except InvalidToken as error:
            message = f"not a question of NATS: {error}"
            await self._journal.tell("refused", message, reason=error.reason)
            return b""
        account = accounts[knock.account]
        try:
            answer = await self._admit(knock, account)
        except (InvalidToken, BusUnavailable, KubernetesUnavailable) as error:
            await self._journal.tell("refused", str(error), reason=error.reason, **_shown(knock))
            answer = callout.refuse(knock, account, self._clock.now())
        return boxes[knock.sealed_for].seal(answer, knock.sealed_by)

    async def _admit(self, knock: Knock, account: KeyPair) -> bytes:
        if knock.nkey and knock.token:
            raise InvalidToken("a key and a token; expected one of them")
        return await (self._person if knock.nkey else self._workload)(knock, account)

    async def _workload(self, knock: Knock, account: KeyPair) -> bytes:
        now = self._clock.now()
        who = await self._attest(knock.token, knock.host, now)
        if not self._flood.allows(who.workload):
            raise InvalidToken(f"{who.workload} connects too often")
        permissions = of_workload(who.identity, who.workload)
        answer = callout.admit(
            knock, account, str(who.workload), permissions, now, into=accounts.WORKLOADS
        )
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

    async def _person(self, knock: Knock, account: KeyPair) -> bytes:
        now = self._clock.now()
        who = self._people.find(knock.nkey, now)
        permissions = of_person(who.name, who.role)
        answer = callout.admit(
            knock,
            account,
            who.admitted_as,
            permissions,
            now,
            who.expires,
            into=accounts.of(who.role),
        )
        await self._journal.tell(
            "admitted",
            f"{who.name} may use the bus as {who.role}",
            person=who.name,
            role=who.role,
            by="nkey",
            evidence=who.key,
            **_shown(knock),
        )
        return answer


def _shown(knock: Knock) -> dict[str, str]:
    # What it calls itself comes from whoever knocks: short, and never believed.
    return {"host": knock.host[:_SHOWN], "client": knock.client[:_SHOWN]}
