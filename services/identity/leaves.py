"""Who shows which leaf now: what workloads acknowledge every ten seconds, for those who ask.

Every replica hears all of it, so each of them can answer.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Literal

from cryptography import x509

from common.clock import Clock
from common.contract.leaves import LeavesQuestion, LeavesReply, Signer, WorkloadLeaf
from common.x509 import key_id
from common.x509.certificates import signed_by
from common.x509.keys import is_p256
from services.identity.roots import Pair
from services.identity.roster import Heard, Roster


class Leaves:
    """What each workload in the roster has acknowledged, and what signs now, asked for with each question."""

    def __init__(
        self,
        issuer: Callable[[], Pair],
        anchors: Callable[[], Sequence[x509.Certificate]],
        roster: Roster,
        clock: Clock,
    ) -> None:
        self._issuer = issuer
        self._anchors = anchors
        self._roster = roster
        self._clock = clock
        self._began = clock.monotonic()

    async def __call__(self, subject: str, question: LeavesQuestion) -> LeavesReply:
        """A page of those who are there."""
        heard = self._roster.workloads()
        prefix = f"{question.namespace}/" if question.namespace else ""
        names = sorted(n for n in heard if n.startswith(prefix) and n > question.after)
        return LeavesReply(
            time=self._clock.now(),
            covered=self._clock.monotonic() - self._began,
            signers=tuple(signers(self._issuer(), self._anchors())),
            rows=tuple(_row(name, heard[name]) for name in islice(names, question.most)),
            more=len(names) > question.most,
        )


def signers(issuer: Pair, anchors: Sequence[x509.Certificate]) -> Iterable[Signer]:
    """The issuer, what stands between it and an anchor, and the anchors."""
    for certificate in issuer.chain:
        yield _signer("issuer", certificate)
    for certificate in anchors:
        yield _signer("anchor", certificate)


def _row(name: str, heard: Heard) -> WorkloadLeaf:
    return WorkloadLeaf(
        workload=name,
        heard=heard.time,
        trust_revision=heard.revision,
        leaf=heard.leaf,
        version=heard.version,
    )


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
