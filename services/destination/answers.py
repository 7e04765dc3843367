"""Index and key → the document that the mesh should see. Pure; reads the index, changes nothing."""

from common.contract.discovery import (
    Address,
    Endpoint,
    EndpointSlice,
    Hint,
    Service,
    ServicePort,
    Settings,
    Workload,
)
from common.contract.topic import Document
from common.names import Identity, ServiceName, WorkloadName
from services.destination.index import Index, Part
from services.destination.keys import (
    AddressKey,
    Key,
    ServiceKey,
    SettingsKey,
    SliceKey,
    WorkloadKey,
)
from services.destination.resources import MeshSettings, Pod, Port, SliceEndpoint
from services.destination.resources import Service as ServiceResource

PROTOCOLS: dict[str, Hint] = {
    "http": "http1",
    "kubernetes.io/h2c": "http2",
    "tulle.dev/opaque": "opaque",
    "tulle.dev/tcp": "opaque",
}
"""What a port's `appProtocol` says of it; what is not here is not looked into."""


def answer(index: Index, key: Key) -> Document | None:
    """The document of a key; None: there should be none, or a tombstone."""
    match key:
        case SliceKey():
            return endpoint_slice(index, key)
        case AddressKey(ip):
            return address(index, ip)
        case WorkloadKey(name):
            return workload(index, name)
        case ServiceKey(name):
            return service(index, name)
        case SettingsKey():
            return settings(index.mesh_settings)


def service(index: Index, name: ServiceName) -> Service | None:
    """A service, naming those of its slices that are of the wanted address family."""
    resource = index.services.get(name)
    if resource is None:
        return None
    slices = index.parts_of_service.get(name, set())
    return Service(
        namespace=name.namespace,
        name=name.name,
        addresses=resource.addresses,
        ports=tuple(_service_port(index, resource, port) for port in resource.ports),
        slices=tuple(sorted(k.name for k in slices if _wanted(resource, index.parts[k]))),
        failure_accrual=resource.failure_accrual,
    )


def endpoint_slice(index: Index, key: SliceKey) -> EndpointSlice | None:
    """The endpoints of a slice, or of a part of a large one; None while its service is not known."""
    resource, part = index.services.get(key.service), index.parts.get(key)
    if resource is None or part is None or not _wanted(resource, part):
        return None
    ports = {port.name: port.port for port in part.ports}
    return EndpointSlice(
        namespace=key.service.namespace,
        service=key.service.name,
        name=key.name,
        endpoints=tuple(_endpoint(index, ports, e, resource.namespace) for e in part.endpoints),
    )


def address(index: Index, ip: str) -> Address | None:
    """What lives at an address: a service before a pod, and the first by name where several claim it."""
    services = index.services_at.get(ip)
    if services:
        return Address(address=ip, service=str(min(services)))
    pods = index.pods_at.get(ip)
    if pods:
        return Address(address=ip, workload=_resident(index, ip, index.pods[min(pods)]))
    return None


def workload(index: Index, name: WorkloadName) -> Workload | None:
    """What the proxy beside a meshed pod must know; None for others."""
    pod = index.pods.get(name)
    if pod is None or not pod.meshed:
        return None
    return Workload(
        namespace=name.namespace,
        name=name.name,
        uid=pod.uid,
        identity=_identity(index, pod),
        default_policy=index.policy_of(pod),
        zone=index.zone_of(pod),
        opaque_ports=tuple(sorted(index.opaque_ports_of(pod))),
    )


def settings(resource: MeshSettings | None) -> Settings:
    """The settings of the mesh: the defaults, where nothing else is said."""
    default = Settings()
    if resource is None:
        return default
    networks, ports = resource.cluster_networks, resource.opaque_ports
    seconds, level = resource.report_seconds, resource.log_level
    return Settings(
        cluster_networks=default.cluster_networks if networks is None else networks,
        opaque_ports=default.opaque_ports if ports is None else tuple(sorted(ports)),
        report_seconds=default.report_seconds if seconds is None else seconds,
        log_level=default.log_level if level is None else level,
    )


def _wanted(resource: ServiceResource, part: Part) -> bool:
    return resource.family in (None, part.family)


def _service_port(index: Index, resource: ServiceResource, port: Port) -> ServicePort:
    return ServicePort(port=port.port, name=port.name, hint=_hint(index, resource, port))


def _hint(index: Index, resource: ServiceResource, port: Port) -> Hint:
    if resource.opaque_ports is not None and port.port in resource.opaque_ports:
        return "opaque"
    if port.app_protocol:
        return PROTOCOLS.get(port.app_protocol, "opaque")
    return (
        "opaque"
        if port.port in index.opaque_ports(resource.opaque_ports, resource.namespace)
        else "detect"
    )


def _endpoint(index: Index, ports: dict[str, int], place: SliceEndpoint, home: str) -> Endpoint:
    pod = index.pod_of(place)
    if pod is None:
        return _stranger(index, ports, place, home)
    opaque = index.opaque_ports_of(pod)
    return Endpoint(
        address=place.address,
        ports=ports,
        workload=pod.name,
        namespace=pod.namespace,
        owner=pod.owner,
        uid=pod.uid,
        identity=_identity(index, pod) if pod.meshed else "",
        proxy_port=pod.inbound_port if pod.meshed else None,
        opaque_ports=tuple(sorted(opaque.intersection(ports.values()))),
        zone=index.zone_of(place),
        for_zones=place.for_zones,
        ready=place.ready and not index.marks.leaving(pod.id, pod.uid or place.pod_uid),
    )


def _stranger(index: Index, ports: dict[str, int], place: SliceEndpoint, home: str) -> Endpoint:
    """An endpoint whose pod is not known.

    If it names one it is not ready: nobody can say yet whether it must be spoken to with mutual TLS.
    """
    namespace = place.pod.namespace if place.pod else home
    opaque = index.opaque_ports(None, namespace)
    return Endpoint(
        address=place.address,
        ports=ports,
        workload=place.pod.name if place.pod else "",
        namespace=namespace,
        uid=place.pod_uid,
        opaque_ports=tuple(sorted(opaque.intersection(ports.values()))),
        zone=index.zone_of(place),
        for_zones=place.for_zones,
        ready=place.ready and place.pod is None,
    )


def _resident(index: Index, ip: str, pod: Pod) -> Endpoint:
    return Endpoint(
        address=ip,
        ports={},
        workload=pod.name,
        namespace=pod.namespace,
        owner=pod.owner,
        uid=pod.uid,
        identity=_identity(index, pod) if pod.meshed else "",
        proxy_port=pod.inbound_port if pod.meshed else None,
        opaque_ports=tuple(sorted(index.opaque_ports_of(pod))),
        zone=index.zone_of(pod),
    )


def _identity(index: Index, pod: Pod) -> str:
    return Identity(pod.namespace, pod.service_account, index.trust_domain).uri
