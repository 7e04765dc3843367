"""A mesh in a cluster, for tests: its programs' accounts with the rights that `k8s/` gives them, no more."""

from pathlib import Path
from typing import Any

import yaml

from tests.support.cluster import Cluster

K8S = Path(__file__).parents[2] / "k8s"
_RIGHTS = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")


def account(cluster: Cluster, namespace: str, file: str, name: str) -> Path:
    """A kubeconfig of the account `name` in `namespace`, with the rights that `file` of `k8s/` gives it."""
    found = [item for item in yaml.safe_load_all((K8S / file).read_text()) if item]
    cluster.apply(*(_moved(item, namespace) for item in found if item["kind"] in _RIGHTS))
    token = cluster.kubectl("create", "token", name, "-n", namespace).strip()
    return cluster.write_kubeconfig(f"{name}-{namespace}", token)


def bootstrapper(cluster: Cluster, namespace: str) -> Path:
    """The kubeconfig of the bootstrap Job."""
    return account(cluster, namespace, "20-bootstrap.yaml", "tulle-bootstrap")


def identity(cluster: Cluster, namespace: str) -> Path:
    """The kubeconfig of identity."""
    return account(cluster, namespace, "40-identity.yaml", "tulle-identity")


def _moved(item: dict[str, Any], namespace: str) -> dict[str, Any]:
    """The same in another namespace; what is of the whole cluster gets a name of its own."""
    item = {**item, "metadata": {**item["metadata"]}}
    if item["kind"].startswith("Cluster"):
        item["metadata"]["name"] += f"-{namespace}"
        if "roleRef" in item:
            name = f"{item['roleRef']['name']}-{namespace}"
            item["roleRef"] = {**item["roleRef"], "name": name}
    else:
        item["metadata"]["namespace"] = namespace
    if "subjects" in item:
        item["subjects"] = [{**one, "namespace": namespace} for one in item["subjects"]]
    return item
