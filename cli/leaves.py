"""Which leaf each workload shows, as identity tells it, put together with what signed it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from cli.mesh import ask
from common.bus import Bus
from common.contract import subjects
from common.contract.leaves import LeavesQuestion, LeavesReply, Signer, WorkloadLeaf

State = Literal["valid", "expired", "untrusted", "none"]


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate of the chain above a leaf."""

    key: str
    """Key identifier, hexadecimal."""
    role: Literal["issuer", "anchor", "unknown"]
    name: str
    not_after: float | None
    """Seconds since the epoch; null if identity has no such certificate now."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A workload and its leaf."""

    workload: str
    """`namespace/name`."""
    state: State
    """untrusted: it leads to no anchor that is trusted now; none: the workload holds no leaf."""
    identity: str
    serial: str
    not_after: float | None
    """Seconds since the epoch."""
    expires_in: float | None
    chain: tuple[Link, ...]
    """What signed the leaf, the anchor last."""
    trust_revision: int
    """Of the trust bundle in force there."""
    heard_ago: float
    version: str
    """Of the proxy; empty if it does not say."""


class Leaves(msgspec.Struct, frozen=True, kw_only=True):
    """All that identity told."""

    time: float
    covered: float
    """For how many seconds identity has listened."""
    signers: tuple[Signer, ...]
    rows: tuple[Row, ...]


async def fetch(bus: Bus, namespace: str = "") -> Leaves:
    """Ask identity, page after page. Raises BusUnavailable, Refused, InvalidMessage."""
    rows: list[Row] = []
    after = ""
    while True:
        question = LeavesQuestion(namespace=namespace, after=after)
        page = await ask(bus, subjects.leaves(), question, "identity")
        rows += put_together(page)
        if not (page.more and page.rows):
            break
        after = page.rows[-1].workload
    return Leaves(time=page.time, covered=page.covered, signers=page.signers, rows=tuple(rows))


def put_together(page: LeavesReply) -> Iterator[Row]:
    """The rows of a page, each with its chain."""
    known = {signer.key: signer for signer in page.signers}
    for row in page.rows:
        yield _row(row, known, page.time)


def missing(rows: Iterable[Row], wanted: Sequence[str]) -> list[str]:
    """Which of `wanted` is no row's workload: `namespace/name`, or a name in any namespace."""
    found = {word for row in rows for word in (row.workload, row.workload.partition("/")[2])}
    return [word for word in wanted if word not in found]


def _row(row: WorkloadLeaf, known: Mapping[str, Signer], now: float) -> Row:
    leaf = row.leaf
    chain = tuple(_link(key, known) for key in leaf.signed_by) if leaf else ()
    return Row(
        workload=row.workload,
        state=_state(row, chain, now),
        identity=leaf.identity if leaf else "",
        serial=leaf.serial if leaf else "",
        not_after=leaf.not_after if leaf else None,
        expires_in=leaf.not_after - now if leaf else None,
        chain=chain,
        trust_revision=row.trust_revision,
        heard_ago=max(0.0, now - row.heard),
        version=row.version,
    )


def _link(key: str, known: Mapping[str, Signer]) -> Link:
    signer = known.get(key)
    if signer is None:
        return Link(key=key, role="unknown", name="", not_after=None)
    return Link(key=key, role=signer.role, name=signer.name, not_after=signer.not_after)


def _state(row: WorkloadLeaf, chain: Sequence[Link], now: float) -> State:
    if row.leaf is None:
        return "none"
    if row.leaf.not_after <= now:
        return "expired"
    return "valid" if any(link.role == "anchor" for link in chain) else "untrusted"
