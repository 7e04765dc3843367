"""Whether a pod gets a proxy: its annotations and its namespace's in, a yes or the reason for a no out."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args

import msgspec

from services.injector.annotations import DISABLED, ENABLED, INJECT, with_label

Reason = Literal[
    "injection_enable_annotation_absent",
    "injection_disable_annotation_present",
    "invalid_inject_annotation_at_workload",
    "invalid_inject_annotation_at_ns",
    "host_network_enabled",
    "sidecar_already_exists",
    "unsupported_resource",
]
At = Literal["workload", "namespace", ""]
REASONS: tuple[Reason, ...] = get_args(Reason)
# Nobody asked for a proxy, or one is there: not worth an event.
QUIET: frozenset[Reason] = frozenset(
    ("injection_enable_annotation_absent", "injection_disable_annotation_present")
)

PROXY, REDIRECT = "tulle-proxy", "tulle-redirect"
STATE, RUN, IDENTITY = "tulle-state", "tulle-run", "tulle-identity"
"""Volumes: the proxy's memory, the lock of iptables, token and trust anchors."""
VOLUMES = frozenset((STATE, RUN, IDENTITY))
_MIRROR = "kubernetes.io/config.mirror"
"""What the kubelet shows of a pod that it runs by itself: whatever is changed there has no effect."""
_SIDECARS = frozenset(
    (PROXY, REDIRECT, "istio-proxy", "istio-init", "linkerd-proxy", "linkerd-init")
)
_SIDECAR_IMAGES = ("istio/proxyv2", "istio/proxy_init", "linkerd/proxy", "linkerd/proxy-init")


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Inject, or the reason why not; `warning` is for whoever applied the pod."""

    skip: Reason | None = None
    warning: str = ""
    annotation_at: At = ""
    """Whose annotation decided."""
    ours: bool = False
    """Skipped because an earlier call has injected it."""


def decide(pod: Mapping[str, Any], namespace: Mapping[str, str], *, otherwise: str = "") -> Verdict:
    """Judge a pod (or a workload's template), given the annotations of its namespace.

    `otherwise` counts where neither has the annotation.
    """
    own = annotations(pod).get(INJECT, "")
    above = namespace.get(INJECT, "")
    at: At = "workload" if own else "namespace" if above else ""
    wanted = own or above or otherwise
    if not wanted:
        return Verdict(skip="injection_enable_annotation_absent")
    if wanted == DISABLED:
        return Verdict(skip="injection_disable_annotation_present", annotation_at=at)
    if wanted != ENABLED:
        reason: Reason = (
            "invalid_inject_annotation_at_workload" if own else "invalid_inject_annotation_at_ns"
        )
        warning = (
            f"not injected: {INJECT}: {wanted!r} at the {at}: expected {ENABLED} or {DISABLED}"
        )
        return Verdict(skip=reason, warning=warning, annotation_at=at)
    if _MIRROR in annotations(pod):
        return Verdict(
            skip="unsupported_resource", annotation_at=at, warning="not injected: a static pod"
        )
    return _possible(mapping(pod.get("spec")), at)


def _possible(spec: Mapping[str, Any], at: At) -> Verdict:
    if str(mapping(spec.get("os")).get("name")) == "windows":
        warning = "not injected: a Windows pod, whose connections cannot be redirected"
        return Verdict(skip="unsupported_resource", annotation_at=at, warning=warning)
    if not listing(spec.get("containers")):
        return Verdict(
            skip="unsupported_resource", annotation_at=at, warning="not injected: no containers"
        )
    names = {str(container.get("name")) for container in containers(spec)}
    volumes = {str(volume.get("name")) for volume in listing(spec.get("volumes"))}
    images = {_plain(str(container.get("image"))) for container in containers(spec)}
    sidecar = sorted(names & _SIDECARS) + sorted(volumes & VOLUMES)
    sidecar += sorted(image for image in images if image.endswith(_SIDECAR_IMAGES))
    if sidecar:
        ours = {PROXY, REDIRECT} <= names
        warning = "" if ours else f"not injected: {sidecar[0]} is there already"
        return Verdict(skip="sidecar_already_exists", warning=warning, annotation_at=at, ours=ours)
    # A file may spell it `yes`, which YAML 1.1 takes for true.
    if str(spec.get("hostNetwork")).lower() in ("true", "yes", "on"):
        warning = "not injected: hostNetwork is set, and the node's connections are not the pod's"
        return Verdict(skip="host_network_enabled", warning=warning, annotation_at=at)
    return Verdict(annotation_at=at)


def containers(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """All containers of a pod, those of its start first."""
    yield from listing(spec.get("initContainers"))
    yield from listing(spec.get("containers"))


def annotations(thing: Mapping[str, Any]) -> Mapping[str, str]:
    """What a pod or a namespace is annotated with, or labelled: see `with_label`."""
    metadata = mapping(thing.get("metadata"))
    return with_label(mapping(metadata.get("annotations")), mapping(metadata.get("labels")))


def mapping(value: object) -> Mapping[str, Any]:
    """A mapping, or an empty one in place of whatever else stands there."""
    return value if isinstance(value, dict) else {}


def listing(value: object) -> list[Mapping[str, Any]]:
    """The mappings of a list; none if it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _plain(image: str) -> str:
    """An image without tag and digest."""
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return head + slash + last.partition(":")[0]
