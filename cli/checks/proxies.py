"""The proxies of a namespace: who should have one and has none, and how those are that are there."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from cli import published
from cli.checks.context import Context
from cli.checks.frame import Check, Doubtful, Group, Wrong, count, named
from cli.checks.lives import SKEW_SECONDS
from cli.durations import about
from cli.kube import Json, Thing
from cli.leaves import Row
from common.contract import subjects
from common.contract.events import Ack
from services.injector.annotations import ENABLED, INJECT, with_label
from services.injector.decide import PROXY, QUIET, Verdict, decide, listing, mapping
from services.injector.inject import MESHED

_MESHED_PODS = f"/api/v1/pods?labelSelector={MESHED.replace('/', '%2F')}%3Dtrue"
_OVER = ("Succeeded", "Failed")


async def namespaces(context: Context) -> list[str]:
    """The meshed ones: annotated, or with meshed pods in it; without Kubernetes those that were heard of.

    Raises what the bus and the API raise.
    """
    if context.namespace:
        return [context.namespace]
    found = {row.workload.partition("/")[0] for row in (await context.leaves()).rows}
    if context.way.cluster:
        for one in await context.all("/api/v1/namespaces", Thing):
            if _annotated(one).get(INJECT) == ENABLED:
                found.add(one.metadata.name)
        found |= {pod.metadata.namespace for pod in await context.all(_MESHED_PODS, Thing)}
    return sorted(found)


def proxies(namespace: str, *, in_cluster: bool) -> Group:
    """What there is to look at in a namespace."""
    of = PODS + BUS if in_cluster else BUS
    checks = (
        Check(name, partial(look, namespace), hint, anchor) for name, look, hint, anchor in of
    )
    return Group(f"proxies in {namespace}", tuple(checks))


def _annotated(namespace: Thing) -> Mapping[str, str]:
    return with_label(namespace.metadata.annotations, namespace.metadata.labels)


async def _pods(namespace: str, context: Context) -> list[tuple[Json, Verdict]]:
    """The pods that run, or should, and whether they want a proxy."""
    home = await context.there(f"/api/v1/namespaces/{namespace}", Thing, f"namespace {namespace}")
    pods = await context.all(f"/api/v1/namespaces/{namespace}/pods", dict[str, Any])
    return [
        (pod, decide(pod, _annotated(home)))
        for pod in pods
        if mapping(pod.get("status")).get("phase") not in _OVER
        and "deletionTimestamp" not in pod["metadata"]
    ]


async def _injected(namespace: str, context: Context) -> str:
    """Every pod that its annotations, or its namespace's, want meshed has a proxy, or a reason not to."""
    judged = await _pods(namespace, context)
    late = [_name(pod) for pod, verdict in judged if verdict.skip is None]
    if late:
        raise Wrong(f"without a proxy: {named(late)}")
    spared = [
        f"{_name(pod)} ({verdict.skip})"
        for pod, verdict in judged
        if verdict.skip and verdict.skip not in QUIET and not verdict.ours
    ]
    if spared:
        raise Doubtful(f"cannot have one: {named(spared)}")
    meshed = [pod for pod, verdict in judged if verdict.ours]
    if not meshed:
        raise Doubtful("no pod here is meshed")
    if len(meshed) == len(judged):
        return f"{count(judged, 'pod')}, meshed"
    return f"{len(meshed)} of {len(judged)} pods meshed, the others want no proxy"


async def _ready(namespace: str, context: Context) -> str:
    """The container tulle-proxy of each meshed pod is ready, as Kubernetes sees it."""
    judged = await _pods(namespace, context)
    unready = [_name(pod) for pod, verdict in judged if verdict.ours and not _proxy_ready(pod)]
    if unready:
        raise Wrong(f"not ready: {named(unready)}")
    return ""


async def _heard(namespace: str, context: Context) -> str:
    """Every meshed pod's proxy is heard on the bus, and shows a leaf that is valid."""
    rows = {row.workload: row for row in await _rows(namespace, context)}
    silent: list[str] = []
    if context.way.cluster:
        meshed = [_name(pod) for pod, verdict in await _pods(namespace, context) if verdict.ours]
        silent = [name for name in meshed if f"{namespace}/{name}" not in rows]
    wrong = [f"{_short(name)} ({row.state})" for name, row in rows.items() if row.state != "valid"]
    wrong += [f"{name} (not heard of)" for name in silent]
    if wrong:
        raise Wrong(named(wrong))
    if not rows:
        raise Doubtful("no proxy was heard of")
    ends = [row.expires_in for row in rows.values() if row.expires_in is not None]
    first = f", the first leaf ends in {about(min(ends))}" if ends else ""
    return f"{len(rows)} heard of{first}"


async def _trusting(namespace: str, context: Context) -> str:
    """The revision of the trust bundle that each proxy has in force, and the one that is published."""
    published = await (await context.bus()).get(subjects.trust())
    revision = published.revision if published else 0
    rows = await _rows(namespace, context)
    behind = [_short(row.workload) for row in rows if row.trust_revision < revision]
    if behind:
        raise Doubtful(f"not yet revision {revision}: {named(behind)}")
    return f"revision {revision}"


async def _settings(namespace: str, context: Context) -> str:
    """The revision of the mesh's settings that each proxy acknowledges (it does so every ten seconds)."""
    published = await (await context.bus()).get(subjects.settings())
    if published is None:
        return "no settings were ever published"
    acks = await _acks(namespace, context)
    subject, revision = subjects.settings().subject, published.revision
    behind = [_short(name) for name, ack in acks if ack.revisions.get(subject, 0) < revision]
    if behind:
        raise Doubtful(f"not yet revision {revision}: {named(behind)}")
    return f"revision {revision}"


async def _opaque(namespace: str, context: Context) -> str:
    """The ports that the pods behind each service declare opaque: clients heed it if all of them do."""
    said: dict[str, set[bool]] = {}
    for part in await published.slices(await context.bus(), namespace):
        for endpoint in part.endpoints:
            for name, port in endpoint.ports.items():
                of = said.setdefault(f"{part.service}:{name or port}", set())
                of.add(port in endpoint.opaque_ports)
    apart = sorted(port for port, opaque in said.items() if len(opaque) > 1)
    if apart:
        raise Doubtful(f"opaque for some pods and not for others: {named(apart)}")
    return ""


async def _versions(namespace: str, context: Context) -> str:
    """The version that each proxy tells, and those of the services."""
    services = {service.version for service in await context.services()}
    rows = await _rows(namespace, context)
    found = sorted({row.version or "unknown" for row in rows})
    others = [
        f"{_short(row.workload)} ({row.version or 'unknown'})"
        for row in rows
        if services and row.version not in services
    ]
    if others:
        raise Doubtful(f"another than the control plane's: {named(others)}")
    return ", ".join(found)


async def _clocks(namespace: str, context: Context) -> str:
    """The time that each proxy tells with its acknowledgement, and this machine's."""
    names = [name for name, _ in await _acks(namespace, context)]
    skews = (await context.acks(names)).skews
    off = [
        f"{_short(name)} ({skews[name]:+.0f} s)"
        for name in names
        if abs(skews[name]) > SKEW_SECONDS
    ]
    if off:
        raise Doubtful(named(off))
    return ""


async def _rows(namespace: str, context: Context) -> list[Row]:
    rows = (await context.leaves()).rows
    return [row for row in rows if row.workload.startswith(f"{namespace}/")]


async def _acks(namespace: str, context: Context) -> list[tuple[str, Ack]]:
    wanted = [row.workload for row in await _rows(namespace, context)]
    heard = (await context.acks(wanted)).heard
    return [(name, heard[name]) for name in wanted if name in heard]


def _name(pod: Json) -> str:
    return str(pod["metadata"]["name"])


def _short(workload: str) -> str:
    return workload.partition("/")[2]


def _proxy_ready(pod: Json) -> bool:
    return any(
        status.get("name") == PROXY and status.get("ready") is True for status in _statuses(pod)
    )


def _statuses(pod: Json) -> Iterator[Any]:
    status = mapping(pod.get("status"))
    yield from listing(status.get("initContainerStatuses"))
    yield from listing(status.get("containerStatuses"))


_Look = Callable[[str, Context], Any]
PODS: tuple[tuple[str, _Look, str, str], ...] = (
    (
        "every pod that wants a proxy has one",
        _injected,
        "a pod gets it when it is made: kubectl rollout restart what made it; for those that cannot have one,"
        " docs/injection.md says why",
        "injected",
    ),
    (
        "their containers are ready",
        _ready,
        "kubectl logs POD -c tulle-proxy; it waits for a certificate, so look at identity as well",
        "proxies-ready",
    ),
)
BUS: tuple[tuple[str, _Look, str, str], ...] = (
    (
        "they are on the bus with valid certificates",
        _heard,
        "tulle identity shows all certificates; the proxy's log says why it has none",
        "proxies-certified",
    ),
    (
        "they believe the trust bundle that is published",
        _trusting,
        "it takes a moment; then look whether the proxy is connected to the bus",
        "proxies-trust",
    ),
    (
        "they have the mesh's settings in force",
        _settings,
        "it takes a moment; then look at tulle diagnostics proxy NS/POD",
        "proxies-settings",
    ),
    (
        "pods behind a service agree on opaque ports",
        _opaque,
        "config.tulle.dev/opaque-ports belongs into the workload's template, or on the namespace, and pods that"
        " are older than it are to be restarted",
        "opaque-ports",
    ),
    (
        "they run the version of the control plane",
        _versions,
        "kubectl rollout restart gives a pod the proxy of the day",
        "proxies-version",
    ),
    (
        "their clocks agree with this machine's",
        _clocks,
        "set the clocks by NTP: certificates go by them",
        "proxies-clocks",
    ),
)
