"""Pods for the injector's tests, and what the API server would make of a patch."""

from typing import Any

from services.injector.options import Mesh
from services.injector.patch import Operation, apply, copied

ANCHORS = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
MESH = Mesh(bus=("tls://nats.tulle:4222",), trust_anchors=ANCHORS)


def a_pod(annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """A pod of one container, with annotations and whatever else its spec is to have."""
    metadata: dict[str, Any] = {"name": "web-1", "namespace": "shop"}
    if annotations is not None:
        metadata["annotations"] = dict(annotations)
    container = {"name": "web", "image": "nginx", "ports": [{"containerPort": 80}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"serviceAccountName": "web", "containers": [container], **spec},
    }


def patched(document: dict[str, Any], operations: tuple[Operation, ...]) -> dict[str, Any]:
    """The document as a patch makes it; the given one stays as it is."""
    made: dict[str, Any] = copied(document)
    apply(made, list(operations))
    return made


def container(pod: dict[str, Any], name: str) -> dict[str, Any]:
    """The container of that name, whichever list it is in."""
    spec = pod["spec"]
    everything = [*spec.get("initContainers", []), *spec["containers"]]
    (found,) = [one for one in everything if one["name"] == name]
    return dict(found)


def environment_of(pod: dict[str, Any]) -> dict[str, str]:
    """What the proxy's container says in its variables; references stand for themselves."""
    env = container(pod, "tulle-proxy")["env"]
    refers = {"fieldRef", "secretKeyRef", "configMapKeyRef"}
    return {
        one["name"]: one["value"]
        if "value" in one
        else f"<{next(iter(refers & {*one['valueFrom']}))}>"
        for one in env
    }
