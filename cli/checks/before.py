"""Before installing: may it be done, is nothing in the way, and will pods be able to start with a proxy?"""

from datetime import datetime

import msgspec

from cli.checks.context import Context
from cli.checks.frame import Check, Doubtful, Group, Wrong, count, named
from cli.checks.injection import WEBHOOKS, webhooks
from cli.checks.installed import DERIVED, MESH, PART_OF
from cli.checks.kubernetes import OLDEST, numbers
from cli.checks.lives import agree
from cli.kube import Json, Kube, Metadata, Right, Thing
from common.errors import KubernetesRefused
from common.kube.client import FORBIDDEN
from services.injector.options import Options
from services.injector.sidecar import redirect, volumes

_RBAC = "rbac.authorization.k8s.io"
# Kind, group, plural, and whether objects of it are in a namespace.
INSTALLED = (
    ("Namespace", "", "namespaces", False),
    ("CustomResourceDefinition", "apiextensions.k8s.io", "customresourcedefinitions", False),
    ("ClusterRole", _RBAC, "clusterroles", False),
    ("ClusterRoleBinding", _RBAC, "clusterrolebindings", False),
    (
        "MutatingWebhookConfiguration",
        "admissionregistration.k8s.io",
        WEBHOOKS.rpartition("/")[2],
        False,
    ),
    ("ServiceAccount", "", "serviceaccounts", True),
    ("Role", _RBAC, "roles", True),
    ("RoleBinding", _RBAC, "rolebindings", True),
    ("Secret", "", "secrets", True),
    ("ConfigMap", "", "configmaps", True),
    ("Service", "", "services", True),
    ("Deployment", "apps", "deployments", True),
    ("StatefulSet", "apps", "statefulsets", True),
    ("Job", "batch", "jobs", True),
    ("PodDisruptionBudget", "policy", "poddisruptionbudgets", True),
)
"""What the manifests make."""
_OTHERS = ("istio", "linkerd", "kuma", "consul", "osm-")
_ENFORCE = "pod-security.kubernetes.io/enforce"
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


class _NodeInfo(msgspec.Struct, frozen=True, rename="camel"):
    kubelet_version: str = ""
    operating_system: str = "linux"


class _NodeStatus(msgspec.Struct, frozen=True, rename="camel"):
    node_info: _NodeInfo = _NodeInfo()


class _Node(msgspec.Struct, frozen=True):
    metadata: Metadata
    status: _NodeStatus = _NodeStatus()


async def _may_install(context: Context) -> str:
    """Whether you may create each kind of object that the manifests contain (SelfSubjectAccessReview)."""
    kube, home = await context.kube(), context.cluster.namespace
    rights = [
        Right("create", group, plural, home if inside else "")
        for _, group, plural, inside in INSTALLED
    ]
    missing = [str(right) for right in rights if not await kube.may(right)]
    if missing:
        raise Wrong(f"you may not {named(missing)}")
    return count(rights, "kind")


async def _may_operate(context: Context) -> str:
    """Whether you may then do what `tulle` does: read the operator's Secret, forward a port to NATS."""
    kube, home = await context.kube(), context.cluster.namespace
    rights = (
        Right("get", "", "secrets", home),
        Right("get", "", "configmaps", home),
        Right("create", "", "pods/portforward", home),
    )
    missing = [str(right) for right in rights if not await kube.may(right)]
    if missing:
        raise Doubtful(f"you may not {named(missing)}")
    return ""


async def _nothing_in_the_way(context: Context) -> str:
    """The namespace, the Secrets in it and the webhook: all of an earlier installation, or none of it."""
    kube, home = await context.kube(), context.cluster.namespace
    namespace = await kube.get(f"/api/v1/namespaces/{home}", Thing)
    if namespace is None:
        if hooks := await webhooks(context):
            raise Wrong(f"webhook {hooks[0].name} is left over: nobody answers it any more")
        return f"namespace {home} is not there yet"
    if await kube.get(f"/api/v1/namespaces/{home}/secrets/{MESH}", Thing):
        return "Tulle is installed already: applying it again updates it, and its keys stay"
    left = [
        name
        for name in DERIVED
        if await kube.get(f"/api/v1/namespaces/{home}/secrets/{name}", Thing)
    ]
    if left:
        raise Wrong(f"Secret {named(left)} without Secret {MESH}: the keys of a mesh that is gone")
    if namespace.metadata.labels.get(PART_OF) != "tulle":
        raise Doubtful(f"namespace {home} is there, and Tulle's manifests did not make it")
    return ""


async def _no_other_mesh(context: Context) -> str:
    """MutatingWebhookConfigurations of other meshes: a pod gets one proxy, whoever comes first."""
    found = [one.metadata.name for one in await context.all(WEBHOOKS, Thing)]
    others = [name for name in found if any(word in name for word in _OTHERS)]
    if others:
        raise Doubtful(f"another mesh injects pods: {named(others)}")
    return ""


async def _nodes_fit(context: Context) -> str:
    """Every node's kubelet: native sidecars need 1.29 there too; Windows nodes run no meshed pods."""
    nodes = await context.all("/api/v1/nodes", _Node)
    infos = [(node.metadata.name, node.status.node_info) for node in nodes]
    old = [
        f"{name} ({info.kubelet_version})"
        for name, info in infos
        if info.kubelet_version and numbers(info.kubelet_version) < OLDEST
    ]
    if old:
        raise Wrong(f"{named(old)}: expected 1.29 or later")
    if all(info.operating_system == "windows" for _, info in infos):
        raise Doubtful("there is no Linux node: nothing can run")
    return count(nodes, "node")


async def _storage(context: Context) -> str:
    """A default StorageClass: NATS keeps its streams on a volume."""
    classes = await context.all("/apis/storage.k8s.io/v1/storageclasses", Thing)
    default = [
        c.metadata.name for c in classes if c.metadata.annotations.get(_DEFAULT_CLASS) == "true"
    ]
    if not default:
        raise Doubtful("there is no default StorageClass")
    return default[0]


async def _admitted(context: Context) -> str:
    """A dry run of a pod with the proxy's init container, which alone needs NET_ADMIN and root."""
    namespace = context.namespace or "default"
    kube = await context.kube()
    try:
        await kube.would_take(f"/api/v1/namespaces/{namespace}/pods", _pod())
    except KubernetesRefused as error:
        if error.status == FORBIDDEN and "cannot create resource" in str(error):
            raise Doubtful(f"you may not create pods in {namespace}") from None
        raise Wrong(str(error).partition(": ")[2]) from None
    strict = await _strict(kube)
    if strict:
        raise Doubtful(f"Pod Security lets no pod of these be meshed: {named(strict)}")
    return f"in namespace {namespace}"


async def _strict(kube: Kube) -> list[str]:
    namespaces = await kube.all("/api/v1/namespaces", Thing)
    return [
        f"{one.metadata.name} ({level})"
        for one in namespaces
        if one.metadata.labels.get(PART_OF) != "tulle"
        and (level := one.metadata.labels.get(_ENFORCE, "privileged")) != "privileged"
    ]


def _pod() -> Json:
    container = redirect(Options())
    named_volumes = [
        one for one in volumes() if one["name"] == container["volumeMounts"][0]["name"]
    ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "tulle-check", "annotations": {"tulle.dev/inject": "disabled"}},
        "spec": {
            "automountServiceAccountToken": False,
            "initContainers": [container],
            "containers": [{"name": "check", "image": "tulle-check", "command": ["true"]}],
            "volumes": named_volumes,
        },
    }


async def _clock(context: Context) -> str:
    """This machine's clock and the API server's, by a dry run of a Namespace."""
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tulle-check"}}
    try:
        made = await (await context.kube()).would_take("/api/v1/namespaces", body)
    except KubernetesRefused:
        raise Doubtful("you may not create namespaces, so it cannot be told") from None
    then = datetime.fromisoformat(made.metadata.creation_timestamp).timestamp()
    # It is told in whole seconds.
    return agree("the API server", then + 0.5, context.clock.now())


BEFORE = Group(
    "before installing",
    (
        Check(
            "you may create what Tulle is made of",
            _may_install,
            "somebody with the role cluster-admin can apply it, or give you these rights",
            "rights-to-install",
        ),
        Check(
            "you may operate it",
            _may_operate,
            "what tulle needs later; without these rights: a folder of your own, tulle bus user NAME",
            "rights-to-operate",
        ),
        Check(
            "nothing is in the way",
            _nothing_in_the_way,
            "restore Secret tulle-mesh; or, for a new mesh: "
            "tulle uninstall --everything | kubectl delete --ignore-not-found -f -",
            "in-the-way",
        ),
        Check(
            "there is no other mesh",
            _no_other_mesh,
            "let no namespace have both meshes: the second proxy is never injected",
            "other-mesh",
        ),
        Check(
            "every node can run a proxy",
            _nodes_fit,
            "update these nodes, or keep meshed pods off them",
            "nodes",
        ),
        Check(
            "NATS will get a volume",
            _storage,
            "make a StorageClass the default, or name one in the manifest of tulle-nats",
            "storage",
        ),
        Check(
            "a pod may start with a proxy",
            _admitted,
            "the init container tulle-redirect runs as root with NET_ADMIN and NET_RAW: let Pod Security, or"
            " whatever policy says no, allow that where pods are to be meshed; -n NS looks elsewhere",
            "pod-security",
        ),
        Check(
            "the clocks agree",
            _clock,
            "set this machine's clock by NTP: certificates and tokens go by it",
            "clock",
        ),
    ),
)
