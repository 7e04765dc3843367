"""A mesh that runs in a cluster: where its API is, and what lies there that lets an operator in.

Whom to trust is the ConfigMap tulle-trust; the operator's key is the Secret tulle-bus-operator: who may
read Secrets in that namespace is an operator.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from common.errors import InvalidSettings, KubernetesRefused, KubernetesUnavailable
from common.kube.access import ACCOUNT, InCluster, KubeConfig
from common.kube.client import FORBIDDEN, NOT_FOUND, Client
from common.kube.stored import KindOfData, Shelf

NAMESPACE = "tulle"
TRUST = "tulle-trust"
OPERATOR = "tulle-bus-operator"
NATS = "tulle-nats"
NATS_PORT = 4222


@dataclass(frozen=True)
class Cluster:
    """A context of a kubeconfig, or with `kubeconfig` None the cluster that we run in."""

    kubeconfig: Path | None
    context: str = ""
    """Empty: the current one."""
    namespace: str = NAMESPACE
    """Where the control plane is."""

    def __str__(self) -> str:
        if self.kubeconfig is None:
            return "this cluster"
        return f"context {self.context}" if self.context else f"the cluster of {self.kubeconfig}"

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """Its API. Raises InvalidSettings."""
        access = (
            InCluster()
            if self.kubeconfig is None
            else KubeConfig(self.kubeconfig, self.context or None)
        )
        async with Client(access) as client:
            yield client

    def kubectl(self, *words: str) -> list[str]:
        """A command line that means the same cluster and namespace; `kubeconfig` must be there."""
        chosen = [f"--kubeconfig={self.kubeconfig}"] if ":" not in str(self.kubeconfig) else []
        chosen += [f"--context={self.context}"] if self.context else []
        return ["kubectl", *chosen, f"--namespace={self.namespace}", *words]


def here(
    env: Mapping[str, str], kubeconfig: Path | None, context: str, namespace: str
) -> Cluster | None:
    """The cluster that kubectl would mean, or the one that we run in; None: there is none.

    Raises InvalidSettings if a file or context was asked for and there is no such file.
    """
    named = kubeconfig or (Path(env["KUBECONFIG"]) if env.get("KUBECONFIG") else None)
    path = named or Path.home() / ".kube" / "config"
    if any(Path(part).is_file() for part in str(path).split(":")):
        return Cluster(path, context, namespace)
    if kubeconfig or context:
        raise InvalidSettings(f"{path}: expected a kubeconfig there; name it with --kubeconfig")
    if env.get("KUBERNETES_SERVICE_HOST") and ACCOUNT.is_dir():
        return Cluster(None, "", namespace)
    return None


async def anchors(cluster: Cluster, client: Client) -> str:
    """Whom the mesh trusts, PEM. Raises KubernetesUnavailable, KubernetesRefused."""
    return (await _read(cluster, client, "ConfigMap", TRUST, "anchor.pem")).decode()


async def operator_seed(cluster: Cluster, client: Client) -> str:
    """The operator's nkey seed. Raises the same."""
    return (await _read(cluster, client, "Secret", OPERATOR, "nkey.seed")).decode().strip()


async def _read(cluster: Cluster, client: Client, kind: KindOfData, name: str, key: str) -> bytes:
    what = f"{kind} {name} in namespace {cluster.namespace}"
    try:
        found = await Shelf(client, cluster.namespace).read(kind, name)
    except KubernetesUnavailable as error:
        raise KubernetesUnavailable(
            f"{cluster}: the Kubernetes API does not answer: {error}"
        ) from None
    except KubernetesRefused as error:
        raise refused(cluster, f"read {what}", error) from None
    if found is None:
        raise _lacks(cluster, f"there is no {what}")
    if not found.data.get(key):
        raise _lacks(cluster, f"{what} has no {key} yet")
    return found.data[key]


def refused(cluster: Cluster, what: str, error: KubernetesRefused) -> KubernetesRefused:
    """The same error, in words that help if it is a right that lacks."""
    if error.status != FORBIDDEN:
        return error
    return KubernetesRefused(
        f"{cluster}: you may not {what}; who may is an operator, and can give you a folder of your own:"
        " tulle bus user NAME",
        error.status,
    )


def _lacks(cluster: Cluster, what: str) -> KubernetesRefused:
    return KubernetesRefused(
        f"{cluster}: {what}; is Tulle installed there? tulle install | kubectl apply -f -",
        NOT_FOUND,
    )
