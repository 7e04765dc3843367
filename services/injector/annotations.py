"""What annotations may say about a pod's proxy: each with how it is read and whether a namespace may say it.

A value that is not understood counts as not said: the pod gets what its namespace says, or the mesh's
default, and whoever applied it is warned. So no annotation makes a pod that cannot start.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from services.injector import values as read
from services.injector.env import merged, variables
from services.injector.options import Options

INJECT = "tulle.dev/inject"
PREFIX = "config.tulle.dev/"
ENABLED, DISABLED = "enabled", "disabled"
ADDITIONAL_ENV = "proxy-additional-env"

# The annotation after PREFIX: the field of Options that it sets, and how it is read.
READERS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "proxy-image": ("image", read.image),
    "proxy-version": ("version", read.image_tag),
    "image-pull-policy": ("pull_policy", read.one_of("Always", "IfNotPresent", "Never")),
    "inbound-port": ("inbound_port", read.port),
    "outbound-port": ("outbound_port", read.port),
    "admin-port": ("admin_port", read.port),
    "skip-inbound-ports": ("skip_inbound_ports", read.ports),
    "skip-outbound-ports": ("skip_outbound_ports", read.ports),
    "skip-subnets": ("skip_subnets", read.subnets),
    "opaque-ports": ("opaque_ports", read.named_ports),
    "default-inbound-policy": (
        "default_policy",
        read.one_of("all-unauthenticated", "all-authenticated", "deny"),
    ),
    "proxy-cpu-request": ("cpu_request", read.quantity),
    "proxy-cpu-limit": ("cpu_limit", read.quantity),
    "proxy-memory-request": ("memory_request", read.quantity),
    "proxy-memory-limit": ("memory_limit", read.quantity),
    "proxy-ephemeral-storage-request": ("storage_request", read.quantity),
    "proxy-ephemeral-storage-limit": ("storage_limit", read.quantity),
    "proxy-uid": ("uid", read.uid),
    "proxy-gid": ("gid", read.gid),
    "proxy-log-level": ("log_level", read.log_level),
    "proxy-log-format": ("log_format", read.one_of("plain", "json")),
    "proxy-outbound-connect-timeout": ("outbound_connect_seconds", read.duration(0.001, 60.0)),
    "proxy-inbound-connect-timeout": ("inbound_connect_seconds", read.duration(0.001, 60.0)),
    "shutdown-grace-period": ("shutdown_grace_seconds", read.duration(0.0, 3600.0)),
    "proxy-await": ("wait", read.switch(ENABLED, DISABLED)),
    "proxy-enable-native-sidecar": ("native", read.switch("true", "false")),
    "proxy-wait-before-exit-seconds": ("wait_before_exit_seconds", read.count(3600)),
    ADDITIONAL_ENV: ("env", variables),
}
# What other meshes have under this name and Tulle has no use for, and why.
WITHOUT_EFFECT = {
    "control-port": "tap and control come over the bus",
    "pod-inbound-ports": "all ports are served",
    "proxy-cpu-ratio-limit": "a proxy is one process on one core",
    "proxy-log-http-headers": "headers are not logged",
    "access-log": "there is no access log yet",
    "enable-external-profiles": "what is outside is passed through",
    "proxy-require-identity-inbound-ports": "set default-inbound-policy",
    "proxy-outbound-discovery-cache-unused-timeout": "what is followed is dropped by itself",
    "proxy-inbound-discovery-cache-unused-timeout": "what is followed is dropped by itself",
    "proxy-disable-outbound-protocol-detect-timeout": "detection listens to both sides",
    "proxy-disable-inbound-protocol-detect-timeout": "detection listens to both sides",
    "enable-debug-sidecar": "there is no debug image",
    "proxy-metrics-hostname-labels": "host names are no labels",
    "proxy-admin-shutdown": "native sidecars end with their pod",
    "enable-gateway": "there are no gateways",
    "close-wait-timeout": "it needs a privileged container",
}
_PORTS = ("inbound_port", "outbound_port", "admin_port")


def with_label(annotations: Mapping[str, str], labels: Mapping[str, str]) -> Mapping[str, str]:
    """The annotations of an object; its label `tulle.dev/inject` counts if there is no such annotation."""
    if INJECT in labels and INJECT not in annotations:
        return {**annotations, INJECT: labels[INJECT]}
    return annotations


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What annotations come to."""

    options: Options
    inherited: dict[str, str]
    """Annotations of the namespace that hold for the pod, in full."""
    invalid: tuple[str, ...]
    """The pod's own annotations that were not understood, in full."""
    warnings: tuple[str, ...]


def said(pod: Mapping[str, str], namespace: Mapping[str, str], defaults: Options) -> Said:
    """Everything the annotations of a pod and its namespace say, above the mesh's `defaults`."""
    warnings: list[str] = []
    own, invalid = _understood(pod, "", warnings)
    above, _ = _understood(namespace, "namespace: ", warnings)
    fields = {READERS[name][0]: value for name, value in (above | own).items()}
    env = merged(defaults.env, above.get(ADDITIONAL_ENV, ()), own.get(ADDITIONAL_ENV, ()))
    options = msgspec.structs.replace(defaults, **fields | {"env": env})
    options, clash = _apart(options, defaults)
    if clash:
        warnings.append(clash)
        names = [name for name, (field, _) in READERS.items() if field in _PORTS]
        invalid += [PREFIX + name for name in names if PREFIX + name in pod]
        above = {name: value for name, value in above.items() if name not in names}
    options, more = _within_limits(options)
    inherited = {PREFIX + name: namespace[PREFIX + name] for name in above if name not in own}
    return Said(
        options=options,
        inherited=inherited,
        invalid=tuple(dict.fromkeys(invalid)),
        warnings=(*warnings, *more),
    )


def _understood(
    annotations: Mapping[str, str], where: str, warnings: list[str]
) -> tuple[dict[str, Any], list[str]]:
    """Values by name, and the annotations that have none."""
    found: dict[str, Any] = {}
    invalid: list[str] = []
    for key, text in annotations.items():
        name = key.removeprefix(PREFIX)
        if name == key:
            continue
        try:
            found[name] = _value(name, text)
        except ValueError as error:
            warnings.append(f"{where}{key}: {error}")
            if name in READERS:
                invalid.append(key)
    return found, invalid


def _value(name: str, text: object) -> Any:
    if name in WITHOUT_EFFECT:
        raise ValueError(f"has no effect: {WITHOUT_EFFECT[name]}")
    if name not in READERS:
        raise ValueError("is not known, and has no effect")
    if not isinstance(text, str):
        raise ValueError(f"{text!r}: expected a text in quotes")
    return READERS[name][1](text.strip())


def _apart(options: Options, defaults: Options) -> tuple[Options, str]:
    """The proxy's three ports must differ; where they do not, the mesh's hold."""
    if len({getattr(options, field) for field in _PORTS}) == len(_PORTS):
        return options, ""
    ports = {field: getattr(defaults, field) for field in _PORTS}
    used = ", ".join(map(str, ports.values()))
    said = f"{PREFIX}inbound-port, outbound-port, admin-port: expected three different ports; used: {used}"
    return msgspec.structs.replace(options, **ports), said


def _within_limits(options: Options) -> tuple[Options, list[str]]:
    """Kubernetes refuses a pod that requests more than its limit: then the limit is requested."""
    warnings = []
    for what in ("cpu", "memory", "storage"):
        request, limit = getattr(options, f"{what}_request"), getattr(options, f"{what}_limit")
        if request and limit and read.amount(request) > read.amount(limit):
            options = msgspec.structs.replace(options, **{f"{what}_request": limit})
            warnings.append(
                f"the proxy's {what} request {request} is above its limit; used: {limit}"
            )
    return options, warnings
