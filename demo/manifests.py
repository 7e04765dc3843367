"""The layout in Kubernetes' shapes: what destination's directory source follows, and the hosts file."""

import socket
from pathlib import Path
from typing import Any

import yaml

from demo.layout import Layout, Replica, ServicePlace
from demo.plan import Port

REPORT_SECONDS = 1


def write(layout: Layout, directory: Path) -> None:
    """Write everything that destination must know, one file per kind of thing."""
    directory.mkdir(parents=True, exist_ok=True)
    documents = {
        "mesh.yaml": [settings()],
        "pods.yaml": [pod(replica) for replica in layout.replicas],
        "services.yaml": [
            document for service in layout.services for document in (of(service), slice_of(service))
        ],
    }
    for name, objects in documents.items():
        (directory / name).write_text(yaml.safe_dump_all(objects, sort_keys=False))


def hosts(layout: Layout) -> str:
    """The hosts file with which every service has its names."""
    # Programs look their own host's name up, too: Python's http.server does when it starts.
    lines = [f"127.0.0.1 localhost {socket.gethostname()}"]
    lines += [f"{service.address} {' '.join(service.host_names)}" for service in layout.services]
    return "\n".join(lines) + "\n"


def settings() -> dict[str, Any]:
    """Mesh-wide settings: reports come often, for a table that is alive."""
    return {
        "apiVersion": "tulle.dev/v1alpha1",
        "kind": "MeshSettings",
        "metadata": {"name": "mesh"},
        "spec": {"reportSeconds": REPORT_SECONDS},
    }


def pod(replica: Replica) -> dict[str, Any]:
    """The Pod that a replica would be."""
    workload = replica.workload
    labels = {"app": workload.name}
    if workload.meshed:
        labels["tulle.dev/meshed"] = "true"
    owner = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "name": workload.name,
        "uid": workload.name,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": replica.name.namespace,
            "name": replica.name.name,
            "uid": replica.uid,
            "labels": labels,
            "ownerReferences": [owner],
        },
        "spec": {"serviceAccountName": workload.name},
        "status": {"podIP": replica.address, "podIPs": [{"ip": replica.address}]},
    }


def of(service: ServicePlace) -> dict[str, Any]:
    """The Service."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": service.name.namespace, "name": service.name.name},
        "spec": {
            "clusterIP": service.address,
            "clusterIPs": [service.address],
            "selector": {"app": service.name.name},
            "ports": [{**_port(port), "targetPort": port.port} for port in service.ports],
        },
    }


def slice_of(service: ServicePlace) -> dict[str, Any]:
    """The EndpointSlice with all replicas of the service."""
    name = service.name
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": name.namespace,
            "name": f"{name.name}-1",
            "labels": {"kubernetes.io/service-name": name.name},
        },
        "addressType": "IPv4",
        "ports": [_port(port) for port in service.ports],
        "endpoints": [_endpoint(replica) for replica in service.replicas],
    }


def _endpoint(replica: Replica) -> dict[str, Any]:
    return {
        "addresses": [replica.address],
        "conditions": {"ready": True, "serving": True, "terminating": False},
        "targetRef": {
            "kind": "Pod",
            "namespace": replica.name.namespace,
            "name": replica.name.name,
            "uid": replica.uid,
        },
    }


def _port(port: Port) -> dict[str, Any]:
    described: dict[str, Any] = {"name": f"p{port.port}", "port": port.port}
    if port.protocol:
        described["appProtocol"] = port.protocol
    return described
