"""Where things are, and how they are to be spoken to: destination says it, proxies follow it."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from common.contract.topic import Document

Port = Annotated[int, Meta(ge=1, le=65535)]
Hint = Literal["detect", "http1", "http2", "opaque"]
"""What a port speaks; `detect` means: look at the first bytes."""
DefaultPolicy = Literal["all-unauthenticated", "all-authenticated", "deny"]
SLICE_LIMIT = 100
"""Endpoints in one slice at most: one pod's change costs one slice, whatever the size of the service."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One place where a service answers."""

    address: str
    ports: dict[str, Port]
    """Port numbers by the name of the service port; the unnamed port has the name ``."""
    workload: str = ""
    """The workload's name (a pod's name); empty where nothing is known of it."""
    namespace: str = ""
    owner: str = ""
    """What made the workload, such as the name of its deployment; empty if nothing did."""
    uid: str = ""
    identity: str = ""
    """The SPIFFE ID that its proxy must show; empty if not meshed."""
    proxy_port: Port | None = None
    """Where its proxy listens; absent: not meshed, spoken to in the clear."""
    opaque_ports: tuple[Port, ...] = ()
    zone: str = ""
    for_zones: tuple[str, ...] = ()
    """The zones whose clients should come here; heeded only where every ready endpoint has them."""
    weight: Annotated[int, Meta(ge=0, le=1_000_000)] = 10_000
    ready: bool = True


class EndpointSlice(Document, frozen=True, kw_only=True):
    """Up to SLICE_LIMIT endpoints of a service."""

    namespace: str
    service: str
    name: str
    endpoints: tuple[Endpoint, ...] = ()


class ServicePort(msgspec.Struct, frozen=True, kw_only=True):
    """A port that clients of a service use."""

    port: Port
    name: str = ""
    hint: Hint = "detect"


class FailureAccrual(msgspec.Struct, frozen=True, kw_only=True):
    """When clients leave a failing endpoint alone, and for how long. Penalties are in seconds."""

    max_failures: Annotated[int, Meta(ge=1)] = 7
    """So many failures in a row are enough."""
    min_penalty: Annotated[float, Meta(ge=0.001)] = 1.0
    max_penalty: Annotated[float, Meta(ge=0.001)] = 60.0
    """The first penalty, and what doubling it each time the endpoint fails again may come to."""
    jitter_ratio: Annotated[float, Meta(ge=0, le=100)] = 0.5
    """Each penalty is longer by a random part of this share of it."""


class Service(Document, frozen=True, kw_only=True):
    """A service: its ports, and the names of the slices that hold its endpoints."""

    namespace: str
    name: str
    addresses: tuple[str, ...] = ()
    """Its ClusterIPs; none for a headless service."""
    ports: tuple[ServicePort, ...] = ()
    slices: tuple[str, ...] = ()
    failure_accrual: FailureAccrual | None = None
    """Absent: no endpoint is left alone for what it answers."""


class Address(Document, frozen=True, kw_only=True):
    """What lives at an IP address: a service (ClusterIP) or a workload."""

    address: str
    service: str = ""
    """`name.namespace` of the service whose ClusterIP this is; empty for a workload."""
    workload: Endpoint | None = None
    """The workload that has this address; its `ports` is empty, because it is reached by number."""


class Workload(Document, frozen=True, kw_only=True):
    """What one proxy must know about the workload it stands beside."""

    namespace: str
    name: str
    uid: str = ""
    identity: str = ""
    default_policy: DefaultPolicy = "all-unauthenticated"
    opaque_ports: tuple[Port, ...] = ()
    zone: str = ""
    """Where it runs, as endpoints' hints name it; empty where that is not known."""


class Settings(Document, frozen=True, kw_only=True):
    """Settings of the whole mesh, in force at once wherever they are followed."""

    cluster_networks: tuple[str, ...] = (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "fd00::/8",
    )
    """Addresses outside are never looked up: they are passed through untouched."""
    opaque_ports: tuple[Port, ...] = (25, 587, 3306, 4444, 5432, 6379, 9300, 11211)
    """Ports where the server speaks first or HTTP is never spoken: no detection (SMTP, MySQL, …)."""
    report_seconds: Annotated[float, Meta(ge=0.1, le=300)] = 10.0
    log_level: Literal["debug", "info", "warning", "error"] = "info"
