"""The identity service as it runs: what it signs with, and what workloads show."""

from collections.abc import Sequence
from functools import partial
from typing import Literal

from cli.checks.context import Context
from cli.checks.frame import Check, Doubtful, Group, Wrong, count, named
from cli.checks.lives import living
from cli.leaves import Row
from common.contract import subjects


async def _answers(context: Context) -> str:
    """What identity answers: who signs, and which leaf each workload shows."""
    found = await context.leaves()
    return count(found.rows, "workload")


async def _keys_fit(context: Context) -> str:
    """The keys of anchors and issuer: ECDSA on P-256, the one kind that the mesh uses."""
    unfit = [signer.name for signer in (await context.leaves()).signers if not signer.fit]
    if unfit:
        raise Wrong(f"{', '.join(unfit)}: expected a key for ECDSA on P-256")
    return ""


async def _live(role: Literal["anchor", "issuer"], context: Context) -> str:
    """The certificates that identity signs with and has everybody trust: a warning 60 days before one ends."""
    now = context.clock.now()
    return "; ".join(
        living(f"{signer.name} ({signer.key[:8]})", signer.not_before, signer.not_after, now)
        for signer in (await context.leaves()).signers
        if signer.role == role
    )


async def _leaves_valid(context: Context) -> str:
    """Every workload that was heard in the last 35 seconds: its leaf has not ended and leads to an anchor."""
    rows = (await context.leaves()).rows
    wrong = [row for row in rows if row.state != "valid"]
    if wrong:
        raise Wrong(named([f"{row.workload} ({row.state})" for row in wrong]))
    return _soonest(rows)


def _soonest(rows: Sequence[Row]) -> str:
    from cli.durations import about

    ends = [(row.expires_in, row.workload) for row in rows if row.expires_in is not None]
    if not ends:
        return ""
    left, workload = min(ends)
    return f"the first to end is that of {workload}, in {about(left)}"


async def _bundle_in_force(context: Context) -> str:
    """The revision of the trust bundle that each workload acknowledges, and the one that is published."""
    published = await (await context.bus()).get(subjects.trust())
    revision = published.revision if published else 0
    rows = (await context.leaves()).rows
    behind = [row.workload for row in rows if row.trust_revision < revision]
    if behind:
        raise Doubtful(f"not yet: {named(behind)}")
    return ""


IDENTITY = Group(
    "identity",
    (
        Check(
            "the identity service answers",
            _answers,
            "is it running, and connected? Its log and its /ready tell",
            "identity-answers",
            vital=True,
        ),
        Check(
            "anchors and issuer have keys of the right kind",
            _keys_fit,
            "make them anew: tulle trust rotate",
            "key-kinds",
        ),
        Check(
            "the anchors in force live for 60 days and more",
            partial(_live, "anchor"),
            "tulle trust rotate puts a new anchor in its place, without interruption",
            "anchors-in-force",
        ),
        Check(
            "the issuer in force lives for 60 days and more",
            partial(_live, "issuer"),
            "tulle trust rotate makes a new issuer; of cert-manager's, look at its Certificate",
            "issuer-in-force",
        ),
        Check(
            "every workload shows a valid certificate",
            _leaves_valid,
            "tulle identity shows them all; the proxy's log says why it has no other",
            "leaves",
        ),
        Check(
            "every workload believes the trust bundle that is published",
            _bundle_in_force,
            "it takes a moment; then look whether its proxy is connected to the bus",
            "bundle-in-force",
        ),
    ),
)
