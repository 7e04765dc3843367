"""The part of Kubernetes' objects that is decoded: exactly what `kinds` reads, so that the rest costs nothing.

Fields are as the API spells them. What an object does not have is None, which `kinds` takes for absent.
"""

from typing import Any

import msgspec

from common.kube.objects import Kind, Meta

Notes = dict[str, str] | None


class Part(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """A part of an object."""


class Owner(Part, frozen=True):
    """What made a pod."""

    kind: str
    name: str


class Labelled(Meta, frozen=True, rename="camel"):
    """Metadata with what people and controllers wrote there."""

    labels: Notes = None
    annotations: Notes = None
    owner_references: list[Owner] | None = None


class Annotated(Meta, frozen=True, rename="camel"):
    """Metadata of what is not labelled for the mesh."""

    annotations: Notes = None


class Port(Part, frozen=True):
    """A port of a service or a slice."""

    port: int | None = None
    name: str | None = None
    protocol: str | None = None
    app_protocol: str | None = None


class ServiceSpec(Part, frozen=True):
    """What a service is."""

    type: str | None = None
    cluster_ip: str | None = msgspec.field(name="clusterIP", default=None)
    cluster_ips: list[str] | None = msgspec.field(name="clusterIPs", default=None)
    ip_families: list[str] | None = None
    ports: list[Port] | None = None
    session_affinity: str | None = None


class Service(Part, frozen=True):
    """A Service."""

    metadata: Annotated
    spec: ServiceSpec = ServiceSpec()


class Conditions(Part, frozen=True):
    """Whether an endpoint may be used."""

    ready: bool | None = None
    terminating: bool | None = None


class Target(Part, frozen=True):
    """What an endpoint is."""

    kind: str | None = None
    namespace: str | None = None
    name: str | None = None
    uid: str | None = None


class ForZone(Part, frozen=True):
    """A zone that an endpoint is for."""

    name: str


class Hints(Part, frozen=True):
    """Whom an endpoint is for."""

    for_zones: list[ForZone] | None = None


class Endpoint(Part, frozen=True):
    """An endpoint of a slice."""

    addresses: list[str] | None = None
    conditions: Conditions | None = None
    target_ref: Target | None = None
    node_name: str | None = None
    zone: str | None = None
    hints: Hints | None = None


class EndpointSlice(Part, frozen=True):
    """An EndpointSlice."""

    metadata: Labelled
    address_type: str | None = None
    ports: list[Port] | None = None
    endpoints: list[Endpoint] | None = None


class ContainerPort(Part, frozen=True):
    """A port that a container names."""

    container_port: int
    name: str | None = None


class Container(Part, frozen=True):
    """A container of a pod."""

    ports: list[ContainerPort] | None = None


class PodSpec(Part, frozen=True):
    """What a pod is."""

    service_account_name: str | None = None
    node_name: str | None = None
    host_network: bool | None = None
    containers: list[Container] | None = None


class PodIp(Part, frozen=True):
    """An address of a pod."""

    ip: str | None = None


class PodStatus(Part, frozen=True):
    """How a pod is."""

    phase: str | None = None
    pod_ip: str | None = msgspec.field(name="podIP", default=None)
    pod_ips: list[PodIp] | None = msgspec.field(name="podIPs", default=None)


class Pod(Part, frozen=True):
    """A Pod."""

    metadata: Labelled
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class Namespace(Part, frozen=True):
    """A Namespace."""

    metadata: Annotated


class Node(Part, frozen=True):
    """A Node."""

    metadata: Labelled


class MeshSettings(Part, frozen=True):
    """A MeshSettings; its mistakes are told by `kinds`, so all of its spec is read."""

    metadata: Meta
    spec: Any = None


SLICES = "discovery.k8s.io/v1"
MESH = "tulle.dev/v1alpha1"
KINDS: tuple[Kind[Any], ...] = (
    Kind(name="Namespace", plural="namespaces", model=Namespace),
    Kind(name="Node", plural="nodes", model=Node),
    Kind(
        name="Pod",
        plural="pods",
        model=Pod,
        # A pod that has ended has no address and no proxy any more.
        fields="status.phase!=Succeeded,status.phase!=Failed",
    ),
    Kind(name="Service", plural="services", model=Service),
    Kind(name="EndpointSlice", api=SLICES, plural="endpointslices", model=EndpointSlice),
    Kind(name="MeshSettings", api=MESH, plural="meshsettings", model=MeshSettings, optional=True),
)
"""What is followed."""
