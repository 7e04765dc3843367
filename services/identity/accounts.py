"""The accounts of NATS, one for each set of rights, and what passes between them.

NATS sends an answer wherever the asker wants it, unasked whether they may write there. So whoever asks has
the answer in an account of their own, which it leaves by the same doors as what they say themselves. All
that is stored is in MESH. What passes follows from what everybody may do (see permissions).
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Literal

import msgspec

from common.bus.streams import CONFIGS
from common.contract.subjects import SAID
from common.names import Identity, WorkloadName
from services.identity.patterns import broadest, common
from services.identity.permissions import (
    CALLOUT,
    MESH_API,
    Permissions,
    PersonRole,
    Role,
    of_person,
    of_role,
    of_workload,
)

MESH = "MESH"
"""Identity, and all that is stored."""
WORKLOADS = "WORKLOADS"
"""The proxies of workloads: whoever was admitted by a token or a leaf."""
SYSTEM = "SYS"
"""What NATS says of itself."""

_ANYBODY = ("q1", "q2", "q3")
_API = "$JS.API."
# Of these the asker gets several answers: a batch, or one of each service.
_ANSWERED_OFTEN = ("$SRV.", *(f"{_API}DIRECT.GET.{name}" for name in CONFIGS))
_NOT_SAID = ("_INBOX.", "_R_.", "$SYS.")
# JetStream answers the first, and says the second of what it has stored and of itself.
_ANSWERED_IN_MESH = (f"{_API}>", "$KV.>", "put.v1.>")
_SAID_IN_MESH = ("tulle.v1.discovery.>", "tulle.v1.workload.*.*", "tulle.v1.mesh.*", "$JS.EVENT.>")
_STORED = tuple(
    subject
    for config in CONFIGS.values()
    for subject in config["subjects"]
    if subject.startswith("tulle.")
)


class Passing(msgspec.Struct, frozen=True, order=True):
    """What passes from one account to another under a subject."""

    kind: Literal["service", "stream"]
    """Questions, whose answers come back; or what is said."""
    owner: str
    """The account in which it is answered, or said."""
    subject: str
    """What it is called there."""
    guest: str
    """The account that asks, or hears."""
    known_as: str
    """What it is called there."""

    @property
    def answered_often(self) -> bool:
        """Whether one question may have several answers."""
        return self.subject in _ANSWERED_OFTEN or self.subject.startswith("$SRV.")


def of(who: Role | PersonRole) -> str:
    """The account of a service, or of people."""
    return MESH if who == "identity" else who.upper()


@cache
def residents() -> Mapping[str, Permissions]:
    """What somebody in each account may do beside their own inbox; NATS then sees to which may."""
    namespace, account, name = _ANYBODY
    roles: tuple[Role, ...] = ("identity", "destination", "injector", "telemetry", "operator")
    found = {of(role): of_role(role) for role in roles}
    found[of("reader")] = of_person(name, "reader")
    found[WORKLOADS] = of_workload(Identity(namespace, account), WorkloadName(namespace, name))
    return found


@cache
def passing() -> tuple[Passing, ...]:
    """All that passes between any two accounts; nothing in two ways."""
    those = residents()
    answers = {owner: _answers(owner, may) for owner, may in those.items()}
    asked = [subject for subjects in answers.values() for subject in subjects]
    said = {owner: _said(owner, may, asked) for owner, may in those.items()}
    return tuple(
        one
        for guest, may in those.items()
        for owner in those
        if owner != guest
        for one in (
            *_asked(guest, may, owner, answers[owner]),
            *_heard(guest, may, owner, said[owner]),
        )
    )


def mappings(account: str) -> dict[str, str]:
    """What NATS is to understand in an account as another subject.

    Every account has JetStream's API for itself, which answers that there is none in this one.
    """
    asked = [one for one in residents()[account].publish if one.startswith(MESH_API)]
    return {one.replace(MESH_API, _API): one for one in asked}


def _asked(guest: str, asker: Permissions, owner: str, answers: list[str]) -> Iterator[Passing]:
    """Questions that those of `guest` may ask, of those that are answered in `owner`."""
    questions = {of_anybody(one): one.startswith(MESH_API) for one in asker.publish}
    wanted = [one.replace(MESH_API, _API) for one in questions]
    for subject in _in_common(wanted, answers):
        known_as = subject
        if subject.replace(_API, MESH_API) in questions:
            known_as = subject.replace(_API, MESH_API)
        yield Passing("service", owner, subject, guest, known_as)


def _heard(guest: str, hearer: Permissions, owner: str, said: list[str]) -> Iterator[Passing]:
    """What those of `guest` hear, of what is said in `owner`."""
    for subject in _in_common(_hears(guest, hearer), said):
        spoken = f"{SAID}{subject}" if owner == WORKLOADS else subject
        yield Passing("stream", owner, spoken, guest, subject)


def _in_common(some: list[str], others: list[str]) -> tuple[str, ...]:
    both = (common(one, other) for one in some for other in others)
    return broadest(one for one in both if one is not None)


def _answers(account: str, may: Permissions) -> list[str]:
    """What is answered in an account: by members of a group, to the services framework, by JetStream."""
    found = [one.partition(" ")[0] for one in may.subscribe if " " in one]
    found += [one for one in may.subscribe if one.startswith("$SRV.")]
    if account == MESH:
        found += _ANSWERED_IN_MESH
    return [one for one in found if one != CALLOUT]


def _said(account: str, may: Permissions, asked: list[str]) -> list[str]:
    """What is said in an account, as others hear it; not what is `asked` of somebody."""
    found = [of_anybody(one).removeprefix(SAID) for one in may.publish]
    if account == MESH:
        found += _SAID_IN_MESH
    found = [one for one in found if not one.startswith(_NOT_SAID)]
    return [one for one in found if not any(common(one, other) for other in asked)]


def _hears(account: str, may: Permissions) -> list[str]:
    """What is heard in an account, by somebody or by a stream."""
    found = [of_anybody(one) for one in may.subscribe if " " not in one]
    if account == MESH:
        found += _STORED
    return [one for one in found if not one.startswith((*_NOT_SAID, "$SRV."))]


def of_anybody(subject: str) -> str:
    """A subject as all in the account together may use it: for a name that was made up, any name."""
    return ".".join("*" if part in _ANYBODY else part for part in subject.split("."))
