"""Who may use which subjects of the bus: a pure function from identity to permissions.

Whatever is not allowed is refused by the server. A workload's proxy speaks for itself only: its own
metrics, events, lifecycle and acknowledgements, its own certificate, answers in its own inbox. It reads
what everybody may read, and what is written for it. docs/permissions.md shows all of it.
"""

from typing import Literal, get_args

import msgspec

from common.contract import subjects
from common.contract.events import Phase, Service
from common.contract.subjects import EVENTS, LEASES, LIFECYCLES, SAID, STATE, TOKENS, WORKLOADS
from common.names import Identity, WorkloadName, token

Role = Literal[Service, "operator"]
PersonRole = Literal["reader", "operator"]
ROLES: tuple[Role, ...] = (*get_args(Service), "operator")

CALLOUT = "$SYS.REQ.USER.AUTH"
"""Where NATS asks whether a connection may be admitted: tokens are in the question."""
MESH_API = "$JS.mesh.API."
"""JetStream's API as people know it, whose account has no JetStream (`nats --js-domain mesh`)."""
NO_GROUPS = "> >"
"""Every queue group on every subject: a member of a group takes messages away from the others."""
_CALLOUT_ANSWERS = "$SYS._INBOX.>"
_LEASES = f"KV_{LEASES}"
_TOKENS = f"KV_{TOKENS}"
_SHARED = (STATE, WORKLOADS, EVENTS, LIFECYCLES, _LEASES)
_WRITTEN = (STATE, WORKLOADS, _LEASES)
"""In which nobody but services writes."""
_FRAMEWORK = ("PING", "INFO", "STATS")
_CERTIFY = subjects.certify_any().subject


class Permissions(msgspec.Struct, frozen=True, kw_only=True):
    """Subjects that may be published and subscribed to; `SUBJECT GROUP` is for members of that group."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    not_subscribe: tuple[str, ...] = ()
    """What is refused, or left out of what is heard, although `subscribe` allows it."""


def of_workload(identity: Identity, workload: WorkloadName) -> Permissions:
    """What the proxy of a workload may do."""
    own = f"{workload.namespace}.{token(workload.name)}"
    said = (
        subjects.metrics(workload).subject,
        subjects.ack(workload).subject,
        *(subjects.lifecycle(workload, phase).subject for phase in get_args(Phase)),
        subjects.learned(workload).subject,
        f"tulle.v1.tap_events.{own}",
        subjects.proxy_event(workload, "*").subject,
    )
    document = subjects.workload(workload)
    everybody_s = tuple(
        state
        for state in (*subjects.discovery_any(), subjects.trust())
        if state.stream != WORKLOADS
    )
    return Permissions(
        publish=(
            *(f"{SAID}{subject}" for subject in said),
            subjects.certify(identity, workload).subject,
            *(_direct_get(state.stream, state.written) for state in everybody_s),
            _direct_get(WORKLOADS, document.written),
        ),
        subscribe=(
            *(state.subject for state in everybody_s),
            document.subject,
            f"tulle.v1.tap.{own}",
            f"{subjects.inbox(workload)}.>",
        ),
        not_subscribe=(NO_GROUPS,),
    )


def of_person(name: str, role: PersonRole) -> Permissions:
    """What a person may do: read everything but requests for certificates; as operator also mend."""
    return _person(f"{subjects.person_inbox(name)}.>", role)


def of_role(role: Role) -> Permissions:
    """What a service, or whoever holds the mesh directory's own key for people, may do.

    None of them may answer wherever an asker wants it: an asker might want it where only they may write.
    """
    inbox = f"{subjects.role_inbox(role)}.>"
    if role == "operator":
        return _person(inbox, role)
    publish, hear, serve = _SERVICES[role]
    hear = (*hear, "tulle.v1.mesh.*", inbox, *_found_as(role))
    return Permissions(
        publish=(
            f"tulle.v1.events.{role}.*",
            subjects.role_ack(role).subject,
            _direct_get(STATE, "put.v1.mesh.*"),
            *publish,
        ),
        subscribe=(*hear, *(f"{subject} {role}" for subject in serve)),
        # It shares its questions with its own replicas, and hears all else by itself.
        not_subscribe=tuple(f"{subject} >" for subject in hear),
    )


def of_system() -> Permissions:
    """What identity may do in the system account: see who is connected, end that, have files reread."""
    requests = ("PING", "PING.CONNZ", "*.CONNZ", "*.VARZ", "*.KICK", "*.RELOAD")
    return Permissions(
        publish=tuple(f"$SYS.REQ.SERVER.{request}" for request in requests),
        subscribe=(f"{subjects.role_inbox('identity')}.>",),
        not_subscribe=(NO_GROUPS,),
    )


def _person(inbox: str, role: PersonRole) -> Permissions:
    publish: tuple[str, ...] = (
        "tulle.v1.telemetry.*",
        subjects.trust_status().subject,
        subjects.keys_status().subject,
        subjects.leaves().subject,
        *(f"$SRV.{what}{more}" for what in _FRAMEWORK for more in ("", ".>")),
        *(f"{MESH_API}{what}" for what in ("INFO", "STREAM.NAMES", "STREAM.LIST")),
        *_stream_api("INFO", "MSG.GET", api=MESH_API),
        # Not what proxies have said: NATS writes an answer wherever the asker wants it, also where only
        # destination or identity may, and this one would be word for word what a pod has made up.
        *(f"$JS.API.DIRECT.GET.{stream}{more}" for stream in _WRITTEN for more in ("", ".>")),
    )
    subscribe: tuple[str, ...] = (subjects.EVERYTHING, inbox)
    if role == "operator":
        # No CREATE and no UPDATE: a stream says where what it holds is said again.
        publish += (
            "tulle.v1.tap.*.*",
            subjects.trust_change().subject,
            subjects.keys_change().subject,
            *_stream_api("PURGE", "DELETE", "LEADER.STEPDOWN", api=MESH_API),
        )
        subscribe += ("$JS.EVENT.>",)
    return Permissions(
        publish=publish,
        subscribe=subscribe,
        not_subscribe=("tulle.v1.identity.certify.>", NO_GROUPS),
    )


def _direct_get(stream: str, subject: str) -> str:
    return f"$JS.API.DIRECT.GET.{stream}.{subject}"


def _stream_api(
    *requests: str, streams: tuple[str, ...] = _SHARED, api: str = "$JS.API."
) -> tuple[str, ...]:
    return tuple(f"{api}STREAM.{what}.{stream}" for stream in streams for what in requests)


def _lease(role: Service) -> tuple[str, ...]:
    key = f"$KV.{LEASES}.{role}"
    return key, _direct_get(_LEASES, key)


def _found_as(role: Service) -> tuple[str, ...]:
    """Where the services framework asks who is there (NATS ADR-32)."""
    own = ("", f".{role}", f".{role}.*")
    return tuple(f"$SRV.{what}{more}" for what in _FRAMEWORK for more in own)


_ENSURE = _stream_api("CREATE", "UPDATE", "INFO")
# Where NATS waits for what it passes on to the account of whoever has asked.
_ANSWERS = "_R_.>"

_SERVICES: dict[Service, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    # Beside what every service may: publishes, hears by itself, serves with its replicas.
    "identity": (
        (
            subjects.trust().written,
            subjects.rotation().written,
            *_ENSURE,
            *_lease("identity"),
            # Which join tokens were used: nobody else may say so, or forget it.
            *_stream_api("CREATE", "UPDATE", "INFO", streams=(_TOKENS,)),
            f"$KV.{TOKENS}.*",
            _direct_get(_TOKENS, f"$KV.{TOKENS}.*"),
            _CALLOUT_ANSWERS,
            _ANSWERS,
        ),
        (subjects.ack_any().subject, subjects.lifecycle_any().subject),
        (
            *(CALLOUT, _CERTIFY, subjects.leaves().subject),
            *(subjects.trust_status().subject, subjects.trust_change().subject),
            *(subjects.keys_status().subject, subjects.keys_change().subject),
        ),
    ),
    "destination": (
        (
            *("put.v1.discovery.>", "put.v1.workload.*.*", subjects.settings().written),
            *_lease("destination"),
            *(f"$JS.API.DIRECT.GET.{stream}" for stream in (STATE, WORKLOADS, LIFECYCLES)),
            *(_direct_get(stream, ">") for stream in (STATE, WORKLOADS)),
            _ANSWERS,
        ),
        (
            subjects.lifecycle_any().subject,
            subjects.learned_any().subject,
            subjects.ack_any().subject,
            *("tulle.v1.discovery.>", "tulle.v1.workload.*.*"),
        ),
        (),
    ),
    "injector": ((*_lease("injector"), _ANSWERS), (), ()),
    "telemetry": (
        ("tulle.v1.tap.*.*", _ANSWERS),
        (
            subjects.metrics_any().subject,
            subjects.lifecycle_any().subject,
            *("tulle.v1.events.>", "tulle.v1.tap_events.*.*"),
        ),
        ("tulle.v1.telemetry.*",),
    ),
}
