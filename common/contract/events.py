"""What happened: the lifecycle of workloads, events for people, acknowledgements."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Phase = Literal["started", "ready", "draining", "stopped"]
Service = Literal["identity", "destination", "injector", "telemetry"]
Component = Literal[Service, "proxy"]


class Lifecycle(msgspec.Struct, frozen=True, kw_only=True):
    """A workload's proxy entered a phase of its life."""

    namespace: str
    workload: str
    uid: str
    phase: Phase
    time: float


class Learned(msgspec.Struct, frozen=True, kw_only=True):
    """A proxy found out that its application speaks first on a port: nobody need wait for a client there."""

    namespace: str
    workload: str
    uid: str
    port: int
    time: float


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something happened that a person may want to know."""

    component: Component
    what: str
    """One word with dashes: issued, refused, reloaded, …; the last token of the subject."""
    message: str
    time: float
    fields: dict[str, str] = {}


class ShownLeaf(msgspec.Struct, frozen=True, kw_only=True):
    """The leaf that a workload shows now."""

    serial: str
    """Hexadecimal."""
    identity: str
    """SPIFFE ID."""
    not_after: float
    """When it ends, seconds since the epoch."""
    signed_by: tuple[str, ...] = ()
    """Key identifiers of who signed it and, one after the other, the rest of its chain; hexadecimal."""


class Ack(msgspec.Struct, frozen=True, kw_only=True):
    """Which revisions are in force at a proxy, or a service, now; said on change and every ten seconds."""

    namespace: str
    workload: str
    uid: str
    revisions: dict[str, int]
    """Stream sequence by subject."""
    time: float
    leaf: ShownLeaf | None = None
    """None: it holds none, as services do."""
    version: Annotated[str, Meta(max_length=64)] = ""
    """Of Tulle, as it runs there."""
