"""`python -m tests.support.kubelet KUBECONFIG FOLDER API_PORT`: be a node until killed.

Runs where a bridge is (see tests/support/hosts.py), as root, in namespaces that end with it.
"""

import sys
from pathlib import Path

import anyio

from common import log
from common.kube.access import KubeConfig
from common.kube.client import Client
from tests.support.kubelet.network import Network
from tests.support.kubelet.node import Node
from tests.support.kubelet.server import Server

PORT = 10250


async def main(kubeconfig: Path, folder: Path, api_port: int) -> None:
    """Run for ever."""
    log.setup("info", "plain")
    async with Client(KubeConfig(kubeconfig), agent="kubelet") as client:
        node = Node(client, Network(folder, api_port), folder, PORT)
        server = Server(node, folder, PORT)
        async with anyio.create_task_group() as group:
            group.start_soon(server.run)
            group.start_soon(node.run)


if __name__ == "__main__":
    Path(sys.argv[2]).mkdir(exist_ok=True)
    anyio.run(main, Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
