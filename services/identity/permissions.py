"""Who may use which subjects of the bus: a pure function from identity to permissions.

Whatever is not allowed is refused by the server. A workload's proxy speaks for itself only: its own
metrics, lifecycle and acknowledgements, its own certificate, answers in its own inbox. It reads what
everybody may read, and what is written for it.
"""

from typing import Literal, get_args

import msgspec

from common.contract import subjects
from common.contract.events import Phase
from common.contract.subjects import EVENTS, LEASES, STATE, TOKENS, WORKLOADS
from common.names import Identity, WorkloadName, token

Role = Literal["identity", "destination", "injector", "telemetry", "operator"]
ROLES: tuple[Role, ...] = get_args(Role)

CALLOUT = "$SYS.REQ.USER.AUTH"
"""Where NATS asks whether a connection may be admitted: tokens are in the question."""
_CALLOUT_ANSWERS = "$SYS._INBOX.>"
_LEASES = f"KV_{LEASES}"
_TOKENS = f"KV_{TOKENS}"
_STREAMS = (STATE, WORKLOADS, EVENTS, _LEASES)


class Permissions(msgspec.Struct, frozen=True, kw_only=True):
    """Subjects that may be published and subscribed to."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    not_subscribe: tuple[str, ...] = ()
    """What is refused although `subscribe` allows it; `> *` is every queue group."""
    answers: bool = False
    """May answer each request that it gets, once, wherever the answer is wanted."""


def of_workload(identity: Identity, workload: WorkloadName) -> Permissions:
    """What the proxy of a workload may do."""
    own = f"{workload.namespace}.{token(workload.name)}"
    document = subjects.workload(workload)
    return Permissions(
        publish=(
            subjects.metrics(workload).subject,
            subjects.ack(workload).subject,
            *(subjects.lifecycle(workload, phase).subject for phase in get_args(Phase)),
            subjects.learned(workload).subject,
            f"tulle.v1.tap_events.{own}",
            "tulle.v1.events.proxy.*",
            subjects.certify(identity, workload).subject,
            _direct_get(STATE, "put.v1.discovery.*.>"),
            _direct_get(STATE, subjects.trust().written),
            _direct_get(STATE, subjects.settings().written),
            _direct_get(WORKLOADS, document.written),
        ),
        subscribe=(
            "tulle.v1.discovery.*.>",
            subjects.trust().subject,
            subjects.settings().subject,
            document.subject,
            f"tulle.v1.tap.{own}",
            f"{subjects.inbox(workload)}.>",
        ),
        # A member of a group would take others' messages away from them.
        not_subscribe=("> *",),
        answers=True,
    )


def of_role(role: Role) -> Permissions:
    """What a service of the control plane, or a person with the operator's key, may do.

    None of them may answer wherever an asker wants it: an asker might want it where only they may write.
    """
    publish, subscribe = _ROLES[role]
    inboxes: tuple[str, ...] = (f"{subjects.role_inbox(role)}.>",)
    if role == "operator":
        # Where NATS's own tools want their answers. A workload's inbox has more words.
        inboxes += ("_INBOX.*", "_INBOX.*.*")
    return Permissions(publish=(*publish, "_INBOX.>"), subscribe=(*subscribe, *inboxes))


def _direct_get(stream: str, subject: str) -> str:
    return f"$JS.API.DIRECT.GET.{stream}.{subject}"


def _service(component: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What every service may do: make sure of the streams, hold a lease, tell events, be found."""
    publish = (
        f"tulle.v1.events.{component}.*",
        subjects.role_ack(component).subject,
        *(f"$JS.API.STREAM.{what}.{s}" for s in _STREAMS for what in ("CREATE", "UPDATE", "INFO")),
        f"$KV.{LEASES}.>",
        _direct_get(_LEASES, ">"),
        _direct_get(STATE, "put.v1.mesh.*"),
    )
    return publish, ("$SRV.>", "tulle.v1.mesh.*")


def _roles() -> dict[Role, tuple[tuple[str, ...], tuple[str, ...]]]:
    more: dict[Role, tuple[tuple[str, ...], tuple[str, ...]]] = {
        "identity": (
            (
                subjects.trust().written,
                subjects.rotation().written,
                _CALLOUT_ANSWERS,
                # Which join tokens were used: nobody else may say so, or forget it.
                *(f"$JS.API.STREAM.{what}.{_TOKENS}" for what in ("CREATE", "UPDATE", "INFO")),
                f"$KV.{TOKENS}.*",
                _direct_get(_TOKENS, f"$KV.{TOKENS}.*"),
            ),
            (
                CALLOUT,
                subjects.certify_any().subject,
                subjects.trust_status().subject,
                subjects.trust_change().subject,
                subjects.ack_any().subject,
                subjects.lifecycle_any().subject,
            ),
        ),
        "destination": (
            (
                "put.v1.discovery.>",
                "put.v1.workload.*.*",
                subjects.settings().written,
                *(f"$JS.API.DIRECT.GET.{stream}" for stream in (STATE, WORKLOADS, EVENTS)),
                *(_direct_get(stream, ">") for stream in (STATE, WORKLOADS, EVENTS)),
            ),
            (
                subjects.lifecycle_any().subject,
                subjects.learned_any().subject,
                "tulle.v1.ack.*.*",
                "tulle.v1.discovery.>",
                "tulle.v1.workload.*.*",
            ),
        ),
        "injector": ((), ()),
        "telemetry": (
            ("tulle.v1.tap.*.*",),
            (
                subjects.metrics_any().subject,
                subjects.lifecycle_any().subject,
                "tulle.v1.events.>",
                "tulle.v1.tap_events.*.*",
                "tulle.v1.telemetry.>",
            ),
        ),
    }
    roles = {role: (_service(role), more[role]) for role in more}
    joined = {r: (a[0] + b[0], a[1] + b[1]) for r, (a, b) in roles.items()}
    # A person reads everything but tokens, asks what can be asked, and mends streams; the mesh's own
    # words are not put into its mouth.
    joined["operator"] = (
        (
            "tulle.v1.telemetry.>",
            "tulle.v1.identity.trust.*",
            "tulle.v1.tap.*.*",
            "$SRV.>",
            "$JS.API.>",
            f"$KV.{LEASES}.>",
        ),
        (subjects.EVERYTHING, "put.v1.>", "$SRV.>", "$JS.EVENT.>", "$KV.>"),
    )
    return joined


_ROLES = _roles()
