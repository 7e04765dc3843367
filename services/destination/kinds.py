"""Kubernetes-shaped documents → resources. Pure and total: mistakes are told, never raised.

Understood are Service, Pod, Namespace and Node (v1), EndpointSlice (discovery.k8s.io/v1), MeshSettings
(tulle.dev/v1alpha1) and List; other kinds are named, so that whoever reads may say that they are ignored.
"""

from collections.abc import Callable
from typing import Literal

import msgspec

from common.contract.discovery import DefaultPolicy, FailureAccrual
from common.names import WorkloadName, check_label, check_subdomain
from services.destination.fields import Field, Path
from services.destination.resources import (
    MESH,
    EndpointSlice,
    Family,
    MeshSettings,
    Namespace,
    Node,
    Pod,
    Resource,
    Service,
    SliceEndpoint,
)
from services.destination.spellings import (
    container_ports,
    count_text,
    duration,
    family,
    ip,
    ips,
    is_number,
    namespace,
    networks,
    number_text,
    port_list,
    port_text,
    ports_by_name,
    tcp_ports,
)

MESHED = "tulle.dev/meshed"
SERVICE_NAME = "kubernetes.io/service-name"
OPAQUE_PORTS = "config.tulle.dev/opaque-ports"
INBOUND_PORT = "config.tulle.dev/inbound-port"
DEFAULT_POLICY = "config.tulle.dev/default-inbound-policy"
ZONE = "topology.kubernetes.io/zone"
FAILURE_ACCRUAL = "balancer.tulle.dev/failure-accrual"
CONSECUTIVE = FAILURE_ACCRUAL + "-consecutive-"
AFFINITY = "sessionAffinity is not heeded: meshed clients balance each request"
POLICIES: tuple[DefaultPolicy, ...] = ("all-unauthenticated", "all-authenticated", "deny")
LogLevel = Literal["debug", "info", "warning", "error"]
SETTINGS = ("clusterNetworks", "opaquePorts", "reportSeconds", "logLevel")
LEVELS: tuple[LogLevel, ...] = ("debug", "info", "warning", "error")


class Reading(msgspec.Struct):
    """What one document holds: resources, each with its path, or mistakes, or kinds not understood."""

    resources: list[tuple[Path, Resource]] = []
    ignored: list[str] = []
    """`apiVersion/kind` of what is not for the mesh."""
    mistakes: dict[Path, str] = {}
    remarks: list[str] = []
    """What is in order, but does not have the effect that one might expect."""


def read(document: object) -> Reading:
    """Read one document; `resources` is to be used only where there are no `mistakes`."""
    root = Field(document)
    reading = Reading([], [], root.mistakes, [])
    _read(root, reading)
    return reading


def _read(root: Field, reading: Reading) -> None:
    kind = root["kind"].text(expected="a kind, such as Service")
    api = root["apiVersion"].text(expected="an API version, such as v1")
    if (api, kind) == ("v1", "List"):
        for item in root["items"].items():
            _read(item, reading)
        return
    reader = READERS.get((api, kind))
    if reader is not None:
        resource = reader(root)
        if resource is not None:
            reading.resources.append((root.path, resource))
            if kind == "Service" and root["spec"]["sessionAffinity"].value == "ClientIP":
                reading.remarks.append(f"{resource.ref}: {AFFINITY}")
    elif kind and api:
        reading.ignored.append(f"{api}/{kind}")


def _service(root: Field) -> Service | None:
    spec = root["spec"]
    if spec["type"].value == "ExternalName":
        return None
    addresses = ips(spec["clusterIPs"].items() or [spec["clusterIP"]])
    ports = tcp_ports(spec["ports"])
    notes = root["metadata"]["annotations"]
    return Service(
        namespace=namespace(root),
        name=root["metadata"]["name"].name(check_label, "service"),
        addresses=addresses,
        family=_wanted_family(addresses, spec["ipFamilies"]),
        ports=ports,
        opaque_ports=port_list(notes[OPAQUE_PORTS], ports_by_name(ports)),
        failure_accrual=_failure_accrual(notes),
    )


def _failure_accrual(notes: Field) -> FailureAccrual | None:
    if not notes[FAILURE_ACCRUAL].one_of(("consecutive",), ""):
        return None
    most = count_text(notes[CONSECUTIVE + "max-failures"], 1_000_000, 7)
    least, longest = notes[CONSECUTIVE + "min-penalty"], notes[CONSECUTIVE + "max-penalty"]
    first, last = duration(least, 1.0), duration(longest, 60.0)
    if first <= 0:
        least.wrong("a duration above 0")
    if first > last:
        longest.wrong(f"a duration of at least min-penalty, {first:g}s")
    jitter = number_text(notes[CONSECUTIVE + "jitter-ratio"], 0, 100, 0.5)
    if not most:
        return None
    return FailureAccrual(
        max_failures=most, min_penalty=first, max_penalty=last, jitter_ratio=jitter
    )


def _wanted_family(addresses: tuple[str, ...], families: Field) -> Family | None:
    # Both families of a dual-stack service reach the same pods: one of them is enough.
    if addresses:
        return family(addresses[0])
    for first in families.items()[:1]:
        return 6 if first.one_of(("IPv4", "IPv6"), "IPv4") == "IPv6" else 4
    return None


def _endpoint_slice(root: Field) -> EndpointSlice | None:
    kind = root["addressType"].one_of(("IPv4", "IPv6", "FQDN"), "IPv4")
    if kind == "FQDN":
        return None
    where = namespace(root)
    return EndpointSlice(
        namespace=where,
        name=root["metadata"]["name"].name(check_subdomain, "endpoint slice"),
        service=root["metadata"]["labels"][SERVICE_NAME].name(check_label, "service"),
        family=6 if kind == "IPv6" else 4,
        ports=tcp_ports(root["ports"]),
        endpoints=tuple(_endpoint(e, where, kind) for e in root["endpoints"].items()),
    )


def _endpoint(item: Field, where: str, kind: str) -> SliceEndpoint:
    # Kubernetes defines no meaning for addresses beyond the first.
    first = (item["addresses"].items() or [item["addresses"]])[0]
    address = ip(first)
    if address and family(address) != int(kind[-1]):
        first.wrong(f"an {kind} address, as addressType says")
    target, conditions = item["targetRef"], item["conditions"]
    is_pod = target["kind"].value == "Pod"
    return SliceEndpoint(
        address=address,
        ready=conditions["ready"].flag(True) and not conditions["terminating"].flag(False),
        pod=_pod_ref(target, where) if is_pod else None,
        pod_uid=target["uid"].text("") if is_pod else "",
        node=item["nodeName"].text(""),
        zone=item["zone"].text(""),
        for_zones=tuple(
            hint["name"].text(expected="the name of a zone")
            for hint in item["hints"]["forZones"].items()
        ),
    )


def _pod_ref(target: Field, default: str) -> WorkloadName | None:
    where = target["namespace"].name(check_label, "namespace", default)
    name = target["name"].name(check_subdomain, "pod")
    return None if target.mistakes else WorkloadName(where, name)


def _pod(root: Field) -> Pod:
    meta, spec, status = root["metadata"], root["spec"], root["status"]
    ended = status["phase"].value in ("Succeeded", "Failed")
    shared = spec["hostNetwork"].flag(False)
    addresses = ips([p["ip"] for p in status["podIPs"].items()] or [status["podIP"]])
    notes = meta["annotations"]
    return Pod(
        namespace=namespace(root),
        name=meta["name"].name(check_subdomain, "pod"),
        uid=meta["uid"].text(""),
        owner=_owner(meta),
        service_account=spec["serviceAccountName"].name(
            check_subdomain, "service account", "default"
        ),
        addresses=() if ended or shared else addresses,
        meshed=meta["labels"][MESHED].text("") == "true",
        inbound_port=port_text(notes[INBOUND_PORT], 4143),
        opaque_ports=port_list(notes[OPAQUE_PORTS], container_ports(spec)),
        default_policy=_policy(notes),
        node=spec["nodeName"].text(""),
    )


def _policy(notes: Field) -> DefaultPolicy | None:
    chosen = notes[DEFAULT_POLICY]
    return None if chosen.absent else chosen.one_of(POLICIES, POLICIES[0])


def _namespace(root: Field) -> Namespace:
    notes = root["metadata"]["annotations"]
    return Namespace(
        name=root["metadata"]["name"].name(check_label, "namespace"),
        opaque_ports=port_list(notes[OPAQUE_PORTS], {}),
        default_policy=_policy(notes),
    )


def _node(root: Field) -> Node:
    return Node(
        name=root["metadata"]["name"].name(check_subdomain, "node"),
        zone=root["metadata"]["labels"][ZONE].text(""),
    )


def _owner(meta: Field) -> str:
    for owner in meta["ownerReferences"].items()[:1]:
        name = owner["name"].name(check_subdomain, "owner")
        # A ReplicaSet is its Deployment's name and a hash: people know the Deployment.
        if owner["kind"].text("") == "ReplicaSet" and "-" in name:
            return name.rpartition("-")[0]
        return name
    return ""


def _mesh_settings(root: Field) -> MeshSettings:
    spec, name = root["spec"], root["metadata"]["name"]
    if name.value != MESH:
        name.wrong(f"{MESH}: the settings of a mesh are one object")
    spec.only(SETTINGS)
    ports, report, level = spec["opaquePorts"], spec["reportSeconds"], spec["logLevel"]
    return MeshSettings(
        cluster_networks=networks(spec["clusterNetworks"]),
        opaque_ports=None if ports.absent else frozenset(p.number(1, 65535) for p in ports.items()),
        report_seconds=_seconds(report),
        log_level=None if level.absent else level.one_of(LEVELS, "info"),
    )


def _seconds(field: Field) -> float | None:
    if is_number(field.value) and 0.1 <= field.value <= 300:
        return float(field.value)
    if not field.absent:
        field.wrong("a number of seconds from 0.1 to 300")
    return None


READERS: dict[tuple[str, str], Callable[[Field], Resource | None]] = {
    ("v1", "Service"): _service,
    ("discovery.k8s.io/v1", "EndpointSlice"): _endpoint_slice,
    ("v1", "Pod"): _pod,
    ("v1", "Namespace"): _namespace,
    ("v1", "Node"): _node,
    ("tulle.dev/v1alpha1", "MeshSettings"): _mesh_settings,
}
