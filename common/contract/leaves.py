"""Who shows which leaf, and what signs them: asked of identity, which hears it in acknowledgements."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from common.contract.events import ShownLeaf


class LeavesQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """Which leaves are shown? Answered a page at a time."""

    namespace: str = ""
    """Of this namespace only."""
    after: str = ""
    """Of workloads that come after this one: the last of the page before."""
    most: Annotated[int, Meta(ge=1, le=500)] = 500


class WorkloadLeaf(msgspec.Struct, frozen=True, kw_only=True):
    """A workload and the leaf that it shows."""

    workload: str
    """`namespace/name`."""
    heard: float
    """When it said so last, seconds since the epoch."""
    trust_revision: int = 0
    """Of the trust bundle that it believes; 0: what it was started with."""
    leaf: ShownLeaf | None = None
    version: str = ""
    """Of the proxy, as it says itself."""


class Signer(msgspec.Struct, frozen=True, kw_only=True):
    """An anchor, or an issuer below one, as identity has it now."""

    role: Literal["anchor", "issuer"]
    name: str
    key: str
    """Key identifier, hexadecimal."""
    signed_by: str
    """Key identifier of who signed it, hexadecimal; its own if it signed itself."""
    not_before: float
    not_after: float
    """Seconds since the epoch."""
    fit: bool
    """Whether its key is of the one kind that the mesh uses, ECDSA on P-256."""


class LeavesReply(msgspec.Struct, frozen=True, kw_only=True):
    """Workloads by name, those that were heard in the last 35 seconds."""

    time: float
    """The clock of who answers, seconds since the epoch."""
    covered: float
    """For how many seconds it has listened: within the first ten it does not know everybody yet."""
    signers: tuple[Signer, ...]
    """The issuer first."""
    rows: tuple[WorkloadLeaf, ...]
    more: bool
    """Whether there are more pages."""
