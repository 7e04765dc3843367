"""Every subject of the mesh, each with its message. Nothing else spells a subject.

State is retained by two streams: STATE for what many follow, WORKLOADS for what one proxy may read
about itself. Events are retained by EVENTS for hours, what proxies say of their workloads by LIFECYCLES.
Measurements are not retained.
"""

from typing import Any

from common.contract import events
from common.contract.discovery import Address, EndpointSlice, Service, Settings, Workload
from common.contract.events import Ack, Event, Learned, Lifecycle, Phase
from common.contract.identity import (
    CertifyReply,
    CertifyRequest,
    KeyRotation,
    KeysChange,
    KeysQuestion,
    Rotation,
    TrustBundle,
    TrustChange,
    TrustQuestion,
)
from common.contract.leaves import LeavesQuestion, LeavesReply
from common.contract.telemetry import EdgesReply, EdgesRequest, Report, StatReply, StatRequest
from common.contract.topic import Question, State, Topic
from common.errors import InvalidName
from common.names import Identity, ServiceName, WorkloadName, ip_token, token, untoken

STATE = "tulle_state"
WORKLOADS = "tulle_workloads"
EVENTS = "tulle_events"
LIFECYCLES = "tulle_lifecycles"
LEASES = "tulle_leases"
"""The KV bucket that holds one key per lease."""
TOKENS = "tulle_tokens"
"""The KV bucket in which identity remembers join tokens that were used."""
EVERYTHING = "tulle.v1.>"
SAID = "$JS.ACK."
"""Below this a workload says what others hear without it: there NATS brings no answer (decision 0020)."""


def address(ip: str) -> State[Address]:
    """Where destination says what lives at an IP address."""
    return State(STATE, f"tulle.v1.discovery.address.{ip_token(ip)}", Address)


def service(name: ServiceName) -> State[Service]:
    """Where destination describes a service and names its slices."""
    return State(STATE, f"tulle.v1.discovery.service.{name.namespace}.{name.name}", Service)


def endpoints(name: ServiceName, slice_name: str) -> State[EndpointSlice]:
    """Where destination publishes the endpoints of a service, a slice at a time."""
    subject = f"tulle.v1.discovery.endpoints.{name.namespace}.{name.name}.{token(slice_name)}"
    return State(STATE, subject, EndpointSlice)


def workload(name: WorkloadName) -> State[Workload]:
    """Where a proxy finds what it must know about its own workload."""
    return State(WORKLOADS, f"tulle.v1.workload.{name.namespace}.{token(name.name)}", Workload)


def discovery_any() -> tuple[State[Any], ...]:
    """All that destination publishes, a pattern for each kind, so that it finds what is there already."""
    return (
        State(STATE, "tulle.v1.discovery.address.*", Address),
        State(STATE, "tulle.v1.discovery.service.*.*", Service),
        State(STATE, "tulle.v1.discovery.endpoints.*.*.*", EndpointSlice),
        State(WORKLOADS, "tulle.v1.workload.*.*", Workload),
        settings(),
    )


def trust() -> State[TrustBundle]:
    """Where identity publishes the trust anchors."""
    return State(STATE, "tulle.v1.mesh.trust", TrustBundle)


def rotation() -> State[Rotation]:
    """Where identity says how far a rotation of the trust anchor is."""
    return State(STATE, "tulle.v1.mesh.rotation", Rotation)


def trust_status() -> Question[TrustQuestion, Rotation]:
    """Ask identity how far a rotation is, and whom it waits for."""
    return Question("tulle.v1.identity.trust.status", TrustQuestion, Rotation)


def trust_change() -> Question[TrustChange, Rotation]:
    """Ask identity for a step of a rotation; the bus lets only operators ask."""
    return Question("tulle.v1.identity.trust.change", TrustChange, Rotation)


def keys_status() -> Question[KeysQuestion, KeyRotation]:
    """Ask identity how old the keys of the bus are, and how far a rotation of them is."""
    return Question("tulle.v1.identity.keys.status", KeysQuestion, KeyRotation)


def keys_change() -> Question[KeysChange, KeyRotation]:
    """Ask identity to replace keys of the bus; the bus lets only operators ask."""
    return Question("tulle.v1.identity.keys.change", KeysChange, KeyRotation)


def leaves() -> Question[LeavesQuestion, LeavesReply]:
    """Ask identity which leaf each workload shows now, and what signs them."""
    return Question("tulle.v1.identity.leaves", LeavesQuestion, LeavesReply)


def settings() -> State[Settings]:
    """Where the mesh-wide live settings are."""
    return State(STATE, "tulle.v1.mesh.settings", Settings)


def certify(identity: Identity, workload: WorkloadName) -> Question[CertifyRequest, CertifyReply]:
    """Where a workload has its certificate signed; the bus lets only that workload ask."""
    account = token(identity.service_account)
    subject = f"tulle.v1.identity.certify.{identity.namespace}.{account}.{token(workload.name)}"
    return Question(subject, CertifyRequest, CertifyReply)


def certify_any() -> Question[CertifyRequest, CertifyReply]:
    """What identity answers: every `certify`."""
    return Question("tulle.v1.identity.certify.*.*.*", CertifyRequest, CertifyReply)


def who_certifies(subject: str, trust_domain: str) -> tuple[Identity, WorkloadName]:
    """Who asks on a subject of `certify`, whose tokens the bus vouches for; raises InvalidName."""
    match subject.split("."):
        case ["tulle", "v1", "identity", "certify", namespace, account, name]:
            identity = Identity(namespace, untoken(account), trust_domain)
            return identity, WorkloadName(namespace, untoken(name))
    raise InvalidName(f"subject {subject!r}: expected {certify_any().subject}")


def inbox(name: WorkloadName) -> str:
    """The prefix of the subjects on which a workload is answered; no other may listen there.

    It begins like every inbox, so that services may answer on `_INBOX.>` and nowhere else.
    """
    return f"_INBOX.{name.namespace}.{token(name.name)}"


def role_inbox(role: str) -> str:
    """The prefix of the subjects on which a service, or a person, is answered.

    No namespace is called `_`, so it is no workload's.
    """
    return f"_INBOX._.{role}"


def person_inbox(name: str) -> str:
    """The prefix of the subjects on which a named person is answered."""
    return f"_INBOX._.person.{token(name)}"


def lifecycle(name: WorkloadName, phase: Phase) -> Topic[Lifecycle]:
    """Where a proxy says which phase of its life it entered."""
    subject = f"tulle.v1.lifecycle.{name.namespace}.{token(name.name)}.{phase}"
    return Topic(subject, Lifecycle)


def lifecycle_any() -> Topic[Lifecycle]:
    """What destination hears: every `lifecycle`."""
    return Topic("tulle.v1.lifecycle.*.*.*", Lifecycle)


def learned(name: WorkloadName) -> Topic[Learned]:
    """Where a proxy says on which ports its application speaks first."""
    return Topic(f"tulle.v1.learned.{name.namespace}.{token(name.name)}", Learned)


def learned_any() -> Topic[Learned]:
    """What destination hears: every `learned`."""
    return Topic("tulle.v1.learned.*.*", Learned)


def event(component: events.Service, what: str) -> Topic[Event]:
    """Where a service tells people what happened."""
    return Topic(f"tulle.v1.events.{component}.{what}", Event)


def proxy_event(name: WorkloadName, what: str) -> Topic[Event]:
    """Where a proxy tells people what happened; the bus lets none speak as another."""
    return Topic(f"tulle.v1.events.proxy.{name.namespace}.{token(name.name)}.{what}", Event)


def proxy_event_any() -> Topic[Event]:
    """What all proxies tell."""
    return Topic("tulle.v1.events.proxy.*.*.*", Event)


def ack(name: WorkloadName) -> Topic[Ack]:
    """Where a proxy says which revisions it has in force."""
    return Topic(f"tulle.v1.ack.{name.namespace}.{token(name.name)}", Ack)


def role_ack(role: str) -> Topic[Ack]:
    """Where a service says which revisions it has in force. No namespace is called `_`."""
    return Topic(f"tulle.v1.ack._.{role}", Ack)


def ack_any() -> Topic[Ack]:
    """What identity and destination hear: every `ack`."""
    return Topic("tulle.v1.ack.*.*", Ack)


def metrics(name: WorkloadName) -> Topic[Report]:
    """Where a proxy reports what it measured."""
    return Topic(f"tulle.v1.metrics.{name.namespace}.{token(name.name)}", Report)


def metrics_any() -> Topic[Report]:
    """What telemetry hears: every proxy's `metrics`."""
    return Topic("tulle.v1.metrics.*.*", Report)


def stat() -> Question[StatRequest, StatReply]:
    """Ask telemetry how workloads or services did."""
    return Question("tulle.v1.telemetry.stat", StatRequest, StatReply)


def edges() -> Question[EdgesRequest, EdgesReply]:
    """Ask telemetry who talked to whom."""
    return Question("tulle.v1.telemetry.edges", EdgesRequest, EdgesReply)
