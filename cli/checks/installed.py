"""The control plane as it lies in the cluster: its keys, its workloads, its settings."""

from collections.abc import Iterator, Sequence

import msgspec

from cli.checks.context import Context
from cli.checks.frame import Check, Doubtful, Group, Wrong, named
from cli.kube import Metadata, Thing

MESH, TRUST = "tulle-mesh", "tulle-trust"
DERIVED = (
    "tulle-nats",
    "tulle-bus-destination",
    "tulle-bus-injector",
    "tulle-bus-telemetry",
    "tulle-bus-operator",
)
"""Secrets that are made of MESH."""
DEPLOYMENTS = ("tulle-identity", "tulle-destination", "tulle-injector", "tulle-telemetry")
PART_OF = "app.kubernetes.io/part-of"
_CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/meshsettings.tulle.dev"
_SETTINGS = "/apis/tulle.dev/v1alpha1/meshsettings"
_BOOTSTRAP = "app.kubernetes.io/component=bootstrap"


class _Replicas(msgspec.Struct, frozen=True, rename="camel"):
    replicas: int = 1
    ready_replicas: int = 0
    updated_replicas: int = 0
    observed_generation: int = 0


class _Workload(msgspec.Struct, frozen=True):
    metadata: Metadata
    spec: _Replicas = _Replicas()
    status: _Replicas = _Replicas()


class _Waiting(msgspec.Struct, frozen=True):
    reason: str = ""
    message: str = ""


class _State(msgspec.Struct, frozen=True):
    waiting: _Waiting | None = None
    terminated: _Waiting | None = None


class _Container(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    ready: bool = False
    state: _State = _State()


class _Condition(msgspec.Struct, frozen=True):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class _PodStatus(msgspec.Struct, frozen=True, rename="camel"):
    phase: str = ""
    conditions: tuple[_Condition, ...] = ()
    init_container_statuses: tuple[_Container, ...] = ()
    container_statuses: tuple[_Container, ...] = ()


class Pod(msgspec.Struct, frozen=True):
    """A pod and how it is."""

    metadata: Metadata
    status: _PodStatus = _PodStatus()


async def _namespace(context: Context) -> str:
    """The namespace of the control plane, `tulle` unless --mesh-namespace says otherwise."""
    home = context.cluster.namespace
    await context.there(f"/api/v1/namespaces/{home}", Thing, f"namespace {home}")
    return home


async def _keys(context: Context) -> str:
    """ConfigMap tulle-trust and the Secrets that the bootstrap Job makes, and identity keeps."""
    home, kube = f"/api/v1/namespaces/{context.cluster.namespace}", await context.kube()
    paths = {f"ConfigMap {TRUST}": f"{home}/configmaps/{TRUST}"}
    paths |= {f"Secret {name}": f"{home}/secrets/{name}" for name in (MESH, *DERIVED)}
    missing = [what for what, path in paths.items() if await kube.get(path, Thing) is None]
    if missing:
        raise Wrong(f"not there: {named(missing)}")
    return f"{len(paths)} objects"


async def _ready(context: Context) -> str:
    """StatefulSet tulle-nats and the Deployments: as many replicas ready as are wanted, all up to date."""
    home = context.cluster.namespace
    apps = f"/apis/apps/v1/namespaces/{home}"
    paths = [f"{apps}/statefulsets/tulle-nats"] + [f"{apps}/deployments/{d}" for d in DEPLOYMENTS]
    kube, unready, counts = await context.kube(), [], []
    for path in paths:
        name = path.rpartition("/")[2]
        found = await kube.get(path, _Workload)
        if found is None:
            unready.append(f"{name}: not there")
        elif _is_ready(found):
            counts.append(f"{name.removeprefix('tulle-')} {found.status.ready_replicas}")
        else:
            unready.append(f"{name}: {found.status.ready_replicas}/{found.spec.replicas} ready")
    if unready:
        why = next(iter(_why(await context.all(f"/api/v1/namespaces/{home}/pods", Pod))), "")
        raise Wrong(named(unready, 5) + (f"; {why}" if why else ""))
    return ", ".join(counts)


def _is_ready(found: _Workload) -> bool:
    current = found.status.observed_generation >= found.metadata.generation
    updated = found.status.updated_replicas >= found.spec.replicas
    return current and updated and found.status.ready_replicas >= found.spec.replicas


def _why(pods: Sequence[Pod]) -> Iterator[str]:
    """What keeps pods from being ready, as Kubernetes says it, the most telling first."""
    for pod in pods:
        name, status = pod.metadata.name, pod.status
        for container in (*status.init_container_statuses, *status.container_statuses):
            waiting = container.state.waiting or container.state.terminated
            if waiting and waiting.reason not in (
                "",
                "PodInitializing",
                "Completed",
                "ContainerCreating",
            ):
                said = f": {waiting.message}" if waiting.message else ""
                yield f"pod {name}, container {container.name}: {waiting.reason}{said}"
        for condition in status.conditions:
            if condition.type == "PodScheduled" and condition.status == "False":
                yield f"pod {name}: {condition.reason}: {condition.message}"


async def _settings(context: Context) -> str:
    """The kind MeshSettings, and its one object `mesh`; others are not heeded."""
    await context.there(_CRD, Thing, "CustomResourceDefinition meshsettings.tulle.dev")
    names = [one.metadata.name for one in await context.all(_SETTINGS, Thing)]
    others = [name for name in names if name != "mesh"]
    if others:
        raise Doubtful(f"not heeded, because only 'mesh' is: {named(others)}")
    return "as MeshSettings mesh says" if names else "the defaults"


INSTALLED = Group(
    "control plane",
    (
        Check(
            "its namespace is there",
            _namespace,
            "is Tulle installed? tulle install | kubectl apply -f -; or name the namespace: --mesh-namespace",
            "namespace",
            vital=True,
        ),
        Check(
            "its keys are there",
            _keys,
            f"the bootstrap Job makes them: kubectl -n tulle logs -l {_BOOTSTRAP}; to run it again:"
            f" kubectl -n tulle delete job -l {_BOOTSTRAP}, and apply what Tulle was installed with",
            "keys",
        ),
        Check(
            "all of it is ready",
            _ready,
            "kubectl -n tulle get pods, then describe and logs of what is not ready",
            "ready",
        ),
        Check(
            "its settings can be read",
            _settings,
            "apply Tulle's manifests again; kubectl delete meshsettings NAME",
            "mesh-settings",
        ),
    ),
)
