"""The accounts of NATS, and what passes between them.

Services and JetStream are in one account, workloads in another. NATS sends an answer wherever the asker
wants it, unasked whether they may write there; so whoever asks from the workloads' account has the answer
there, where nothing is stored and no service listens. What passes follows from what a workload may do.
"""

import msgspec

from common.names import Identity, WorkloadName
from services.identity.permissions import Permissions, of_workload

MESH = "MESH"
"""Services, people, and all that is stored."""
WORKLOADS = "WORKLOADS"
"""The proxies of workloads: whoever was admitted by a token or a leaf."""
SYSTEM = "SYS"
"""What NATS says of itself."""

_ANYBODY = ("q1", "q2", "q3")
_ASKED = ("$JS.API.", "tulle.v1.identity.certify.")
_INBOX = "_INBOX."


class Passing(msgspec.Struct, frozen=True):
    """Subjects that pass between MESH and WORKLOADS."""

    asked: tuple[str, ...]
    """Questions of workloads, answered in MESH; the answer comes back to the asker."""
    said: tuple[str, ...]
    """What workloads say, heard in MESH."""
    heard: tuple[str, ...]
    """What is said in MESH, heard by workloads."""


def passing() -> Passing:
    """What some workload may ask, say or hear beside its own inbox; NATS then sees to which may."""
    namespace, account, name = _ANYBODY
    may = of_workload(Identity(namespace, account), WorkloadName(namespace, name))
    return _of(may)


def _of(may: Permissions) -> Passing:
    publish = [_anybody(subject) for subject in may.publish]
    subscribe = [_anybody(subject) for subject in may.subscribe]
    return Passing(
        asked=tuple(one for one in publish if one.startswith(_ASKED)),
        said=tuple(one for one in publish if not one.startswith(_ASKED)),
        heard=tuple(one for one in subscribe if not one.startswith(_INBOX)),
    )


def _anybody(subject: str) -> str:
    return ".".join("*" if part in _ANYBODY else part for part in subject.split("."))
