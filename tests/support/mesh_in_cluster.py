"""A mesh in a cluster, for tests: its programs' accounts with the rights that `k8s/` gives them, no more."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any

import yaml

from common.clock import SystemClock
from common.files import replace
from common.kube.stored import Shelf
from common.nats_server import NatsServer
from services.identity.cluster import layout
from services.identity.cluster.bootstrap import Wanted, bootstrap
from services.identity.directory import MeshDirectory
from services.identity.tokens import AUDIENCE
from tests.support.cluster import Cluster
from tests.support.identity import Mesh
from tests.support.objects import live_pod

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


def identity_account(cluster: Cluster, namespace: str) -> Path:
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


class ClusterMesh(Mesh):
    """A mesh whose directory is the Secret of a cluster; its server and its identity run here."""

    def __init__(
        self, cluster: Cluster, namespace: str, work: Path, server: NatsServer, files: "Mounted"
    ) -> None:
        self.cluster, self.namespace = cluster, namespace
        self.files = files
        self._kubeconfig = identity_account(cluster, namespace)
        self._count = 0
        super().__init__(_read(cluster, namespace, work / "read-0"), server, work)

    def read(self) -> MeshDirectory:
        """The mesh directory as the Secret has it now."""
        self._count += 1
        return _read(self.cluster, self.namespace, self.work / f"read-{self._count}")

    def in_cluster(self, **settings: object) -> AbstractAsyncContextManager[Popen[bytes]]:
        """Identity as a pod of the cluster would run it, with a memory of its own."""
        self._count += 1
        own = {
            "source": "kubernetes",
            "dir": self.work / f"memory-{self._count}",
            "namespace": self.namespace,
            "kubeconfig": self._kubeconfig,
            "nats_reload_seconds": 0.2,
            "trust_anchors_file": "",
            **settings,
        }
        return self.identity(**own)

    def pod(self, name: str, node: str = "") -> str:
        """Make a pod with service account `web`, on a node if one is named; returns its uid."""
        self.cluster.apply(live_pod(self.namespace, name, "10.1.0.1", node=node))
        told = self.cluster.kubectl("get", "pod", name, "-n", self.namespace, "-o", "json")
        uid: str = json.loads(told)["metadata"]["uid"]
        return uid

    def pod_token(self, name: str, account: str = "web", *more: str) -> str:
        """The token that the kubelet would project into the pod."""
        bound = ("--bound-object-kind", "Pod", "--bound-object-name", name)
        return self.account_token(account, "--audience", AUDIENCE, *bound, *more)

    def account_token(self, account: str, *more: str) -> str:
        """A token of a service account."""
        return self.cluster.kubectl("create", "token", account, "-n", self.namespace, *more).strip()


class Mounted:
    """What the kubelet shows NATS's pod of the Secret, in a folder of the test's own."""

    def __init__(self, cluster: Cluster, namespace: str, work: Path) -> None:
        self.folder = work / "mounted"
        (self.folder / "nats").mkdir(parents=True)
        self._cluster, self._namespace, self._store = cluster, namespace, work / "store"
        self.bring()

    @property
    def config(self) -> Path:
        """The configuration of the one server."""
        return self.folder / "nats" / "nats.conf"

    def bring(self) -> None:
        """Show what the Secret holds now."""
        for name, value in data(self._cluster, self._namespace, "secret/tulle-nats").items():
            text = value.replace(b'"/mesh/', f'"{self.folder}/'.encode())
            text = text.replace(b'"/var/lib/tulle"', f'"{self._store}"'.encode())
            replace(self.folder / "nats" / name, text.replace(b"port: 4222\n", b""))


def data(cluster: Cluster, namespace: str, which: str) -> dict[str, bytes]:
    """What an object holds, such as `secret/tulle-mesh`."""
    found = json.loads(cluster.kubectl("get", which, "-n", namespace, "-o", "json"))
    if found["kind"] == "ConfigMap":
        return {key: text.encode() for key, text in found["data"].items()}
    return {key: base64.b64decode(text) for key, text in found["data"].items()}


@asynccontextmanager
async def mesh_in_cluster(
    cluster: Cluster, namespace: str, work: Path, *, join_tokens: bool = False
) -> AsyncIterator[ClusterMesh]:
    """A mesh that the bootstrap Job has made, and its nats-server, without an identity service."""
    async with cluster.client() as client:
        shelf, mesh = Shelf(client, namespace), Wanted(namespace=namespace, join_tokens=join_tokens)
        await bootstrap(shelf, mesh, lambda _: None, SystemClock())
    cluster.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _named("web", namespace)}
    )
    files = Mounted(cluster, namespace, work)
    async with NatsServer(files.config, scheme="tls", store=work / "store") as server:
        yield ClusterMesh(cluster, namespace, work, server, files)


def _read(cluster: Cluster, namespace: str, folder: Path) -> MeshDirectory:
    layout.unpack(data(cluster, namespace, "secret/tulle-mesh"), folder)
    return MeshDirectory(folder)


def _named(name: str, namespace: str) -> dict[str, str]:
    return {"name": name, "namespace": namespace}
