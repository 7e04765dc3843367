"""Who shows which leaf now: what workloads acknowledge every ten seconds, for those who ask.

Every replica hears all of it, so each of them can answer.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Literal

from cryptography import x509

from common.clock import Clock
from common.contract import subjects
from common.contract.events import Ack
from common.contract.leaves import LeavesQuestion, LeavesReply, Signer, WorkloadLeaf
from common.x509 import key_id
from common.x509.certificates import signed_by
from common.x509.keys import is_p256
from services.identity.roots import Pair

HEARD_SECONDS = 35.0
"""Who was not heard for so long is not there."""
_MOST = 100_000
_TRUST = subjects.trust().subject


class Leaves:
    """The last acknowledgement of each workload, and what signs now, asked for with each question."""

    def __init__(
        self,
        issuer: Callable[[], Pair],
        anchors: Callable[[], Sequence[x509.Certificate]],
        clock: Clock,
        most: int = _MOST,
    ) -> None:
        self._issuer = issuer
        self._anchors = anchors
        self._clock = clock
        self._most = most
        self._began = clock.monotonic()
        self._acks: dict[str, tuple[float, Ack]] = {}
        """By `namespace/name`, in the order in which they were heard."""

    def hear(self, subject: str, ack: Ack) -> None:
        """Remember an acknowledgement; who says it is known from the subject, which the bus vouches for."""
        name = subjects.who_acknowledges(subject)
        if name is None:  # a service: it has no leaf
            return
        self._acks.pop(str(name), None)
        self._acks[str(name)] = self._clock.now(), ack
        if len(self._acks) > self._most:
            self._acks.pop(next(iter(self._acks)))

    async def __call__(self, subject: str, question: LeavesQuestion) -> LeavesReply:
        """A page of those who are there."""
        now = self._clock.now()
        self._forget(now)
        prefix = f"{question.namespace}/" if question.namespace else ""
        names = sorted(n for n in self._acks if n.startswith(prefix) and n > question.after)
        return LeavesReply(
            time=now,
            covered=self._clock.monotonic() - self._began,
            signers=tuple(signers(self._issuer(), self._anchors())),
            rows=tuple(self._row(name) for name in islice(names, question.most)),
            more=len(names) > question.most,
        )

    def _row(self, name: str) -> WorkloadLeaf:
        heard, ack = self._acks[name]
        return WorkloadLeaf(
            workload=name,
            heard=heard,
            trust_revision=ack.revisions.get(_TRUST, 0),
            leaf=ack.leaf,
        )

    def _forget(self, now: float) -> None:
        gone = [name for name, (at, _) in self._acks.items() if now - at > HEARD_SECONDS]
        for name in gone:
            del self._acks[name]


def signers(issuer: Pair, anchors: Sequence[x509.Certificate]) -> Iterable[Signer]:
    """The issuer, what stands between it and an anchor, and the anchors."""
    for certificate in issuer.chain:
        yield _signer("issuer", certificate)
    for certificate in anchors:
        yield _signer("anchor", certificate)


def _signer(role: Literal["anchor", "issuer"], certificate: x509.Certificate) -> Signer:
    return Signer(
        role=role,
        name=certificate.subject.rfc4514_string(),
        key=key_id(certificate),
        signed_by=signed_by(certificate) or key_id(certificate),
        not_before=certificate.not_valid_before_utc.timestamp(),
        not_after=certificate.not_valid_after_utc.timestamp(),
        fit=is_p256(certificate.public_key()),
    )
