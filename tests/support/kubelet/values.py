"""Environment variables of a container, and what else a pod can be told of itself."""

import re
from collections.abc import Callable, Iterable
from typing import Any

from tests.support.kubelet.objects import NotYetError, Pod, Service

Find = Callable[[str, str, str], dict[str, bytes] | None]
"""What a Secret or ConfigMap (`Secret`, `shop`, `web`) holds; None if there is none."""
_REFERENCE = re.compile(r"\$\$|\$\(([^)]+)\)")
_KEYED = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")


def field(pod: Pod, path: str, address: str) -> str:
    """What a fieldRef stands for."""
    meta = pod.metadata
    if keyed := _KEYED.fullmatch(path):
        return (meta.labels if keyed[1] == "labels" else meta.annotations).get(keyed[2], "")
    plain = {
        "metadata.name": meta.name,
        "metadata.namespace": meta.namespace,
        "metadata.uid": meta.uid,
        "spec.nodeName": str(pod.spec.get("nodeName", "")),
        "spec.serviceAccountName": str(pod.spec.get("serviceAccountName", "")),
        "status.podIP": address,
        "status.podIPs": address,
    }
    return plain[path]


def environment(
    pod: Pod, container: dict[str, Any], address: str, find: Find, services: Iterable[Service]
) -> dict[str, str]:
    """A container's variables; raises NotYetError if they are not all known."""
    env: dict[str, str] = {}
    if pod.spec.get("enableServiceLinks", True):
        env |= links(pod.metadata.namespace, services)
    for one in container.get("env", ()):
        value = one.get("value", "")
        if source := one.get("valueFrom"):
            found = _resolved(pod, source, address, find)
            if found is None:
                continue
            value = found
        env[one["name"]] = expanded(value, env)
    return env


def expanded(text: str, env: dict[str, str]) -> str:
    """The text with `$(NAME)` replaced by what is known."""

    def put(match: re.Match[str]) -> str:
        return "$" if match[1] is None else env.get(match[1], match[0])

    return _REFERENCE.sub(put, text)


def links(namespace: str, services: Iterable[Service]) -> dict[str, str]:
    """The variables by which Kubernetes names every service of a pod's namespace."""
    env: dict[str, str] = {}
    for service in services:
        address, ports = service.spec.get("clusterIP", "None"), service.spec.get("ports") or ()
        if service.metadata.namespace != namespace or address in ("", "None") or not ports:
            continue
        name = service.metadata.name.upper().replace("-", "_")
        url = f"tcp://{address}:{ports[0]['port']}"
        env |= {f"{name}_SERVICE_HOST": address, f"{name}_SERVICE_PORT": str(ports[0]["port"])}
        env[f"{name}_PORT"] = url
        for port in ports:
            start = f"{name}_PORT_{port['port']}_TCP"
            env |= {start: f"tcp://{address}:{port['port']}", f"{start}_PROTO": "tcp"}
            env |= {f"{start}_PORT": str(port["port"]), f"{start}_ADDR": address}
    return env


def _resolved(pod: Pod, source: dict[str, Any], address: str, find: Find) -> str | None:
    if reference := source.get("fieldRef"):
        return field(pod, reference["fieldPath"], address)
    for word, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
        if reference := source.get(word):
            found = find(kind, pod.metadata.namespace, reference["name"])
            if found and reference["key"] in found:
                return found[reference["key"]].decode()
            if reference.get("optional"):
                return None
            raise NotYetError(f"{kind} {reference['name']}: no key {reference['key']}")
    raise ValueError(f"{source}: not known to this kubelet")
