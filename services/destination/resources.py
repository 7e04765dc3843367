"""What destination understands, as typed values: the part of Kubernetes' objects that the mesh needs.

Whatever source they come from, resources have been checked: names are names, addresses are addresses,
ports are ports. Two resources of one `Ref` are the same object at different times.
"""

from typing import Literal

import msgspec

from common.contract.discovery import DefaultPolicy, FailureAccrual
from common.names import ServiceName, WorkloadName

Kind = Literal["Service", "EndpointSlice", "Pod", "Namespace", "Node", "MeshSettings"]
Family = Literal[4, 6]
MESH = "mesh"
"""What the one MeshSettings is called."""


class Ref(msgspec.Struct, frozen=True, order=True):
    """Which object: its kind, namespace (empty if it is in none) and name."""

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}".replace(" /", " ")


class Port(msgspec.Struct, frozen=True):
    """A TCP port of a service or slice; of a slice it is the number where the endpoint listens."""

    port: int
    name: str = ""
    app_protocol: str | None = None


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """A Service: what clients call it, and the ports that they use."""

    namespace: str
    name: str
    addresses: tuple[str, ...] = ()
    """Its ClusterIPs; none if it is headless."""
    family: Family | None = None
    """The address family that its endpoints are wanted in; None: whatever there is."""
    ports: tuple[Port, ...] = ()
    opaque_ports: frozenset[int] | None = None
    """Service ports never looked into; None: the namespace's list, or else the mesh's."""
    failure_accrual: FailureAccrual | None = None
    """When clients leave a failing endpoint alone; None: never."""

    @property
    def ref(self) -> Ref:
        """Which object this is."""
        return Ref("Service", self.namespace, self.name)

    @property
    def id(self) -> ServiceName:
        """Its name in the mesh."""
        return ServiceName(self.namespace, self.name)


class SliceEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One place named by an EndpointSlice."""

    address: str
    ready: bool = True
    pod: WorkloadName | None = None
    """The pod that its `targetRef` names."""
    pod_uid: str = ""
    node: str = ""
    zone: str = ""
    """Its own word; if it has none, that of its node counts."""
    for_zones: tuple[str, ...] = ()
    """The zones that its hints give it to."""


class EndpointSlice(msgspec.Struct, frozen=True, kw_only=True):
    """An EndpointSlice: some of the endpoints of one service."""

    namespace: str
    name: str
    service: str
    family: Family
    ports: tuple[Port, ...] = ()
    endpoints: tuple[SliceEndpoint, ...] = ()

    @property
    def ref(self) -> Ref:
        """Which object this is."""
        return Ref("EndpointSlice", self.namespace, self.name)


class Pod(msgspec.Struct, frozen=True, kw_only=True):
    """A Pod: one running copy of a program, perhaps with a proxy beside it."""

    namespace: str
    name: str
    uid: str = ""
    owner: str = ""
    service_account: str = "default"
    addresses: tuple[str, ...] = ()
    """Addresses that are this pod's alone; none once it has ended, none on the host's network."""
    meshed: bool = False
    inbound_port: int = 4143
    opaque_ports: frozenset[int] | None = None
    """Container ports never looked into; None: the namespace's list, or else the mesh's."""
    default_policy: DefaultPolicy | None = None
    """None: the namespace's, or else the mesh's."""
    node: str = ""

    @property
    def ref(self) -> Ref:
        """Which object this is."""
        return Ref("Pod", self.namespace, self.name)

    @property
    def id(self) -> WorkloadName:
        """Its name in the mesh."""
        return WorkloadName(self.namespace, self.name)


class Namespace(msgspec.Struct, frozen=True, kw_only=True):
    """A Namespace: what its pods and services have where they say nothing themselves."""

    name: str
    opaque_ports: frozenset[int] | None = None
    default_policy: DefaultPolicy | None = None

    @property
    def ref(self) -> Ref:
        """Which object this is."""
        return Ref("Namespace", "", self.name)


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A Node: where it stands."""

    name: str
    zone: str = ""

    @property
    def ref(self) -> Ref:
        """Which object this is."""
        return Ref("Node", "", self.name)


class MeshSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The MeshSettings `mesh`: live settings of the whole mesh. What it leaves open is None."""

    cluster_networks: tuple[str, ...] | None = None
    opaque_ports: frozenset[int] | None = None
    report_seconds: float | None = None
    log_level: Literal["debug", "info", "warning", "error"] | None = None

    @property
    def ref(self) -> Ref:
        """Which object this is."""
        return Ref("MeshSettings", "", MESH)


Resource = Service | EndpointSlice | Pod | Namespace | Node | MeshSettings


class Put(msgspec.Struct, frozen=True):
    """A source says: this object is so now."""

    resource: Resource


class Removed(msgspec.Struct, frozen=True):
    """A source says: this object is gone."""

    ref: Ref


class Spoke(msgspec.Struct, frozen=True, kw_only=True):
    """A proxy's word that its application speaks first on a port."""

    workload: WorkloadName
    uid: str
    port: int


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """A workload's proxy said at `time` (seconds since the epoch) whether it takes new connections."""

    workload: WorkloadName
    uid: str = ""
    """Of the pod it stands beside; empty where there are none, as on plain hosts."""
    time: float
    leaving: bool


Change = Put | Removed | Heard | Spoke
