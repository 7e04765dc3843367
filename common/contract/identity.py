"""Who is who: what proxies ask of the identity service, and whom the mesh trusts."""

from typing import Literal

import msgspec

from common.contract.topic import Document
from common.jwt import Claims

PROOF_AUDIENCE = "bus.tulle.dev"
PROOF_SECONDS = 60.0
"""How long a proof lives: it is made for one connection."""


class Proof(Claims, frozen=True, kw_only=True):
    """What a workload that has a leaf says when it connects: a token signed by the leaf's key (`x5c`).

    It travels in the handshake of the connection to the bus only, never in a message.
    """

    workload: str
    """`namespace/name`: the one that the leaf names."""


class CertifyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Please sign this: a PKCS#10 request (RFC 2986) for the identity that the subject names."""

    csr: bytes
    """DER; base64 in the JSON."""


class CertifyReply(msgspec.Struct, frozen=True, kw_only=True):
    """The certificate. (Where there is none, the answer is an error that says why.)"""

    chain: tuple[bytes, ...]
    """Leaf first, then what leads to an anchor; DER, base64 in the JSON."""
    not_after: float
    """When the leaf expires, seconds since the epoch."""


RotationPhase = Literal["steady", "added", "switched", "removed"]
"""Where a rotation of the trust anchor is: not under way; the new anchor is trusted as well; leaves are
signed below the new one; the old one is no longer trusted."""


class TrustBundle(Document, frozen=True, kw_only=True):
    """The trust anchors that everybody accepts now."""

    trust_domain: str
    anchors: tuple[str, ...]
    """Certificates, PEM."""
    signing: str = ""
    """Key identifier of the anchor below which leaves are signed now: who holds another leaf renews it."""
    phase: RotationPhase = "steady"


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody whom a rotation waits for."""

    name: str
    """`namespace/workload`, or `_/` and the name of a service."""
    why: str
    since: float
    """Since when it is waited for, seconds since the epoch."""


class Rotation(Document, frozen=True, kw_only=True):
    """How far a rotation of the trust anchor is. Nothing secret: keys lie in the mesh directory."""

    trust_domain: str
    phase: RotationPhase = "steady"
    since: float = 0.0
    """When this phase began, seconds since the epoch."""
    old: str = ""
    """Key identifier of the anchor that goes; empty if none does."""
    new: str = ""
    """Key identifier of the anchor that comes; of the one there is if none does."""
    automatic: bool = False
    """Goes on by itself as soon as everybody has acknowledged."""
    left_behind: tuple[str, ...] = ()
    """Who is not waited for."""
    acknowledged: int = 0
    """How many of those who are there have this phase's bundle in force, and a leaf that goes with it."""
    waiting: tuple[Waiting, ...] = ()
    trouble: str = ""
    """What else it waits for, such as a NATS server that did not reload; empty if nothing."""
    completed: int = 0
    """Rotations that were completed in this mesh directory."""


class TrustQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """How is it?"""


class TrustChange(msgspec.Struct, frozen=True, kw_only=True):
    """Go one step, or all: only an operator may ask for that."""

    step: Literal["rotate", "add", "switch", "remove", "finish", "back"]
    leave_behind: tuple[str, ...] = ()
    """Who is not waited for from now on, in this rotation."""
    distrust: bool = False
    """The old anchor's key may be known to others: it vouches for nothing, and opens no door afterwards."""


KeyKind = Literal["services", "account", "callout", "tokens"]
"""Keys of the bus that are replaced together: the nkeys of services, the mesh's operator and of identity in
NATS's system account; what signs who is admitted; what opens NATS's questions; what signs join tokens."""


class KeyAge(msgspec.Struct, frozen=True, kw_only=True):
    """Since when there are the keys of a kind."""

    kind: KeyKind
    since: float
    """Seconds since the epoch."""


class KeyRotation(msgspec.Struct, frozen=True, kw_only=True):
    """How far a rotation of the bus's own keys is. Nothing secret: keys lie in the mesh directory."""

    phase: RotationPhase = "steady"
    """`added`: NATS is to admit by new keys as well; `switched`: they lie where the old ones did; `removed`:
    NATS is to admit by them alone."""
    since: float = 0.0
    """When this phase began, seconds since the epoch."""
    what: tuple[KeyKind, ...] = ()
    """Which keys are replaced; empty when nothing is under way."""
    back: bool = False
    """The old keys take the place of the new ones again."""
    keys: tuple[KeyAge, ...] = ()
    left_behind: tuple[str, ...] = ()
    """Who is not waited for."""
    waiting: tuple[Waiting, ...] = ()
    """Services, by name, and nodes of NATS."""
    trouble: str = ""
    """What else it waits for; empty if nothing."""
    completed: int = 0
    """Rotations that were completed in this mesh directory."""


class KeysQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """How is it?"""


class KeysChange(msgspec.Struct, frozen=True, kw_only=True):
    """Replace keys of the bus; goes on with what is under way: only an operator may ask for that."""

    what: tuple[KeyKind, ...] = ()
    """Empty: services and tokens, or what is under way. Another account or callout key NATS takes at its start
    only: the rotation waits until each server was restarted."""
    back: bool = False
    """Let the old ones take the place of the new ones again."""
    leave_behind: tuple[str, ...] = ()
    """Who is not waited for from now on, in this rotation."""
    distrust: bool = False
    """The old keys may be known to others: join tokens that were signed with the old one are worthless."""
