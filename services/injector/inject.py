"""A pod (or a workload's template) in, a patch out; and the patch that takes everything away again.

Laws: a pod that has been injected is not injected again; what `uninject` leaves is what `inject` found,
but for configuration that was copied from the namespace, and for annotations that nobody understood.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from common.version import VERSION
from services.injector import sidecar
from services.injector.annotations import said
from services.injector.decide import (
    PROXY,
    REDIRECT,
    VOLUMES,
    Verdict,
    containers,
    decide,
    listing,
    mapping,
)
from services.injector.options import Mesh, Options
from services.injector.patch import Draft, Operation, Pointer

MESHED = "tulle.dev/meshed"
CREATED_BY = "tulle.dev/created-by"
PROXY_VERSION = "tulle.dev/proxy-version"
_WANTS_IDENTITY = ("all-authenticated", "deny")
_ANNOTATIONS = {CREATED_BY, PROXY_VERSION, sidecar.TRUST_ANCHORS}


class Injection(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it: a verdict, the patch (empty if there is no injection), warnings for people."""

    verdict: Verdict
    operations: tuple[Operation, ...] = ()
    warnings: tuple[str, ...] = ()


def inject(
    document: Mapping[str, Any],
    mesh: Mesh,
    namespace: Mapping[str, str],
    *,
    at: Pointer = (),
    owner: str = "",
    otherwise: str = "",
) -> Injection:
    """Judge the pod that lies at `at` in the document, and make its patch.

    `namespace` are the annotations of its namespace; `owner` is what makes the pod, if the document does
    not say; `otherwise` counts where neither has `tulle.dev/inject`.
    """
    draft = Draft(document, at)
    pod = {"metadata": draft.value("metadata"), "spec": draft.value("spec")}
    verdict = decide(pod, namespace, otherwise=otherwise)
    if verdict.skip:
        warnings = (verdict.warning,) if verdict.warning else ()
        return Injection(verdict=verdict, warnings=warnings)
    spec, metadata = mapping(pod["spec"]), mapping(pod["metadata"])
    found = said(mapping(metadata.get("annotations")), namespace, mesh.defaults)
    options, doubts = found.options, tuple(_doubts(spec, found.options))
    _metadata(draft, mesh, options, set(found.invalid), found.inherited)
    _containers(draft, mesh, options, owner_of(metadata) or owner)
    draft.insert(("spec", "volumes"), None, sidecar.volumes())
    return Injection(
        verdict=verdict,
        operations=tuple(draft.operations),
        warnings=(*found.warnings, *doubts),
    )


def uninject(document: Mapping[str, Any], *, at: Pointer = ()) -> tuple[Operation, ...]:
    """The patch that takes away what `inject` adds; empty if there is nothing of it."""
    draft = Draft(document, at)
    for names in (("spec", "initContainers"), ("spec", "containers")):
        draft.take(names, {PROXY, REDIRECT})
    draft.take(("spec", "volumes"), set(VOLUMES))
    draft.drop(("metadata", "labels"), {MESHED})
    draft.drop(("metadata", "annotations"), _ANNOTATIONS)
    if draft.operations and draft.value("metadata") == {}:
        draft.drop((), {"metadata"})
    return tuple(draft.operations)


def owner_of(metadata: Mapping[str, Any]) -> str:
    """What made the pod, as people know it; empty if the pod does not say."""
    for owner in listing(metadata.get("ownerReferences"))[:1]:
        name = str(owner.get("name", ""))
        # A ReplicaSet is its Deployment's name and a hash.
        of_deployment = owner.get("kind") == "ReplicaSet" and "-" in name
        return name.rpartition("-")[0] if of_deployment else name
    return ""


def _metadata(
    draft: Draft, mesh: Mesh, options: Options, invalid: set[str], inherited: dict[str, str]
) -> None:
    draft.drop(("metadata", "annotations"), invalid - set(inherited))
    ours = {
        CREATED_BY: f"tulle/injector {VERSION}",
        PROXY_VERSION: options.version,
        sidecar.TRUST_ANCHORS: mesh.trust_anchors,
    }
    draft.put(("metadata", "annotations"), inherited | ours)
    draft.put(("metadata", "labels"), {MESHED: "true"})


def _containers(draft: Draft, mesh: Mesh, options: Options, owner: str) -> None:
    proxy = sidecar.proxy(mesh, options, owner)
    first = [sidecar.redirect(options)] + ([proxy] if options.native else [])
    # Before a classic sidecar runs, containers of the pod's start would be redirected to nobody: they go first.
    draft.insert(("spec", "initContainers"), 0 if options.native else None, first)
    if not options.native:
        # A hook after the start of the first container holds up the others.
        draft.insert(("spec", "containers"), 0 if options.wait else None, [proxy])


def _doubts(spec: Mapping[str, Any], options: Options) -> Iterator[str]:
    """What will run but hardly as somebody wanted."""
    if not options.native and spec.get("restartPolicy") in ("Never", "OnFailure"):
        yield "a classic sidecar goes on when the application has ended: the pod never completes"
    taken = {options.inbound_port, options.outbound_port, options.admin_port}
    for container in containers(spec):
        name = container.get("name")
        for port in listing(container.get("ports")):
            number = port.get("containerPort")
            if number in taken and port.get("protocol", "TCP") == "TCP":
                yield f"container {name}: port {number} is the proxy's; it cannot be listened on"
            if port.get("protocol") == "UDP":
                yield f"container {name}: port {number}: UDP does not go through the mesh"
        yield from _probed(container, options)
        own = mapping(container.get("securityContext")).get("runAsUser")
        user = mapping(spec.get("securityContext")).get("runAsUser") if own is None else own
        if user == options.uid:
            yield (
                f"container {name}: runs as user {user}, like the proxy: its connections do not go"
                " through the mesh; see config.tulle.dev/proxy-uid"
            )


def _probed(container: Mapping[str, Any], options: Options) -> Iterator[str]:
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asks, where = mapping(container.get(probe)), f"container {container.get('name')}: {probe}"
        if asks.get("tcpSocket"):
            yield (
                f"{where}: tcpSocket reaches the proxy, and passes before the container listens; use httpGet,"
                " grpc or exec"
            )
        if options.default_policy in _WANTS_IDENTITY and {"httpGet", "grpc"} & asks.keys():
            yield (
                f"{where}: the kubelet has no certificate, so {options.default_policy} refuses it; use exec,"
                " or a port of its own in config.tulle.dev/skip-inbound-ports"
            )
