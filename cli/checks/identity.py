"""The identity service as it runs: what it signs with, and what workloads show."""

from collections.abc import Sequence
from functools import partial
from typing import Literal

from cli.checks.context import Context
from cli.checks.frame import Check, Doubtful, Group, Wrong
from cli.checks.lives import living
from cli.leaves import Row
from common.contract import subjects

_NAMED = 3


async def _answers(context: Context) -> str:
    found = await context.leaves()
    return f"{len(found.rows)} workloads"


async def _keys_fit(context: Context) -> str:
    unfit = [signer.name for signer in (await context.leaves()).signers if not signer.fit]
    if unfit:
        raise Wrong(f"{', '.join(unfit)}: expected a key for ECDSA on P-256")
    return ""


async def _live(role: Literal["anchor", "issuer"], context: Context) -> str:
    now = context.clock.now()
    return "; ".join(
        living(f"{signer.name} ({signer.key[:8]})", signer.not_before, signer.not_after, now)
        for signer in (await context.leaves()).signers
        if signer.role == role
    )


async def _leaves_valid(context: Context) -> str:
    rows = (await context.leaves()).rows
    wrong = [row for row in rows if row.state != "valid"]
    if wrong:
        raise Wrong(_named([f"{row.workload} ({row.state})" for row in wrong]))
    return _soonest(rows)


def _soonest(rows: Sequence[Row]) -> str:
    from cli.durations import about

    ends = [(row.expires_in, row.workload) for row in rows if row.expires_in is not None]
    if not ends:
        return ""
    left, workload = min(ends)
    return f"the first to end is that of {workload}, in {about(left)}"


async def _bundle_in_force(context: Context) -> str:
    published = await (await context.bus()).get(subjects.trust())
    revision = published.revision if published else 0
    rows = (await context.leaves()).rows
    behind = [row.workload for row in rows if row.trust_revision < revision]
    if behind:
        raise Doubtful(f"not yet: {_named(behind)}")
    return ""


def _named(words: Sequence[str]) -> str:
    more = f" and {len(words) - _NAMED} more" if len(words) > _NAMED else ""
    return ", ".join(words[:_NAMED]) + more


IDENTITY = Group(
    "identity",
    (
        Check(
            "the identity service answers",
            _answers,
            "is it running, and connected? Its log and its /ready tell",
            vital=True,
        ),
        Check("anchors and issuer have keys of the right kind", _keys_fit, "make them anew"),
        Check(
            "the anchors in force live for 60 days and more",
            partial(_live, "anchor"),
            "tulle trust rotate puts a new anchor in its place, without interruption",
        ),
        Check(
            "the issuer in force lives for 60 days and more",
            partial(_live, "issuer"),
            "tulle trust rotate makes a new issuer; of cert-manager's, look at its Certificate",
        ),
        Check(
            "every workload shows a valid certificate",
            _leaves_valid,
            "tulle identity shows them all; the proxy's log says why it has no other",
        ),
        Check(
            "every workload believes the trust bundle that is published",
            _bundle_in_force,
            "it takes a moment; then look whether its proxy is connected to the bus",
        ),
    ),
)
