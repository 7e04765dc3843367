"""`tulle` as the operator of a mesh in a cluster: a real API server, a real NATS, and a way between them."""

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from anyio.abc import Process
from click.testing import CliRunner, Result

from cli import root
from common.config import environment
from common.kube.access import KubeConfig
from common.kube.client import Client
from common.kube.stored import Shelf
from services.identity.cluster import layout
from tests.support import port_forward
from tests.support.cluster import Cluster
from tests.support.command import command
from tests.support.identity import Mesh


class Operator:
    """Somebody with kubectl, and the rights of the kubeconfig."""

    def __init__(self, cluster: Cluster, namespace: str, mesh: Mesh | None, work: Path) -> None:
        self.kubeconfig = cluster.kubeconfig
        self.namespace = namespace
        self.pid_file = work / "relay.pid"
        (work / "bin").mkdir()
        self.env = {
            "PATH": str(port_forward.install(work / "bin")),
            "PYTHONWARNINGS": "error",
            "LANG": "C.UTF-8",
            "HOME": str(work),
            "KUBECONFIG": str(self.kubeconfig),
            "TULLE_NAMESPACE": namespace,
            "RELAY_PID": str(self.pid_file),
            "RELAY_TO": f"127.0.0.1:{mesh.server.port}" if mesh else "127.0.0.1:1",
        }
        self.env["PATH"] += f":{environment().get('PATH', '')}"

    async def tulle(self, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
        """Run it to its end, `more` being variables of its environment; TimeoutError after a minute."""
        with anyio.fail_after(60):
            done = await anyio.run_process(command(*words), env=self.env | more, check=False)
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    @asynccontextmanager
    async def started(self, *words: str) -> AsyncIterator[Process]:
        """It, while it runs."""
        async with await anyio.open_process(command(*words), env=self.env) as process:
            try:
                yield process
            finally:
                if process.returncode is None:
                    process.kill()

    async def quickly(self, *words: str, **more: str) -> Result:
        """The same within this process, for what starts no other: that takes a third of the time."""
        runner = CliRunner(env={"TULLE_MESH": ""} | self.env | more)
        return await anyio.to_thread.run_sync(
            lambda: runner.invoke(root.tulle, words, prog_name="tulle")
        )

    def forwards(self) -> bool:
        """Whether the way that was opened last is still there."""
        return Path(f"/proc/{self.pid_file.read_text()}").exists()


async def put_keys(cluster: Cluster, namespace: str, mesh: Mesh) -> None:
    """What the bootstrap Job makes, of this mesh."""
    async with Client(KubeConfig(cluster.kubeconfig)) as client:
        shelf = Shelf(client, namespace)
        for one in (layout.whole(mesh.directory.root), *layout.derived(mesh.directory)):
            assert await shelf.create(one)


def workload(kind: str, name: str, namespace: str, ready: int = 1) -> dict[str, Any]:
    """A Deployment or StatefulSet of one replica, `ready` of which are, as its controller would say."""
    labels = {"app": name}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "main", "image": "none"}]},
    }
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    status = {
        "observedGeneration": 1,
        "replicas": 1,
        "readyReplicas": ready,
        "updatedReplicas": 1,
        "availableReplicas": ready,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec | ({"serviceName": name} if kind == "StatefulSet" else {}),
        "status": status,
    }
