"""`python -m services.injector` as a process: on a bus, and in a cluster with the rights that k8s/ gives it."""

import base64
import json
import signal
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest

from cli.manifests import FOLDER
from common.contract import subjects
from common.contract.events import Event
from common.nats_server import free_port
from tests.support.cluster import Cluster
from tests.support.identity import nats
from tests.support.nats import until
from tests.support.pods import a_pod

pytestmark = pytest.mark.anyio
NAME = "tulle-injector"
HOST = "tulle-injector.tulle.svc"


def bundle(cluster: Cluster) -> str:
    """What the API server trusts the webhook by."""
    text = cluster.kubectl("get", "mutatingwebhookconfiguration", NAME, "-o", "json")
    found = json.loads(text)["webhooks"][0]["clientConfig"]["caBundle"]
    return base64.b64decode(found).decode()


async def asked(port: int, trusted: str, namespace: str) -> Any:
    """The webhook's answer for a pod of a ReplicaSet, asked as the API server does."""
    pod = a_pod({"tulle.dev/inject": "enabled"})
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "u-2"}
    pod["metadata"]["ownerReferences"] = [owner | {"controller": True}]
    request = {
        "uid": "u-1",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "namespace": namespace,
        "operation": "CREATE",
        "object": pod,
    }
    review = {"apiVersion": "admission.k8s.io/v1", "request": request}
    context = ssl.create_default_context(cadata=trusted)
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"https://127.0.0.1:{port}/", json=review, ssl=context, server_hostname=HOST
        ) as answer,
    ):
        assert answer.status == 200
        return (await answer.json())["response"]


async def test_it_answers_tells_the_bus_and_stops_with_the_rights_that_it_has(
    cluster: Cluster, installed: dict[str, str], namespace: str, tmp_path: Path
) -> None:
    port, log = free_port(), tmp_path / "log"
    heard: list[Event] = []

    def hear(_subject: str, event: Event) -> None:
        heard.append(event)

    token = cluster.kubectl("create", "token", NAME, "-n", "tulle").strip()
    # Identity makes the bus ready; the injector may not.
    async with (
        nats(tmp_path) as mesh,
        mesh.identity(nkey_file=mesh.directory.seed_file("identity")),
        mesh.role("operator") as bus,
    ):
        await bus.listen(subjects.event("injector", "injected"), hear)
        env = mesh.environment(
            nkey_file=mesh.directory.seed_file("injector"),
            kubeconfig=cluster.write_kubeconfig("injector", token),
            listen=f"127.0.0.1:{port}",
            admin_listen="127.0.0.1:0",
        )
        with log.open("wb") as out:
            process = subprocess.Popen(  # noqa: ASYNC220 - starting it takes no time
                [sys.executable, "-m", "services.injector"], env=env, stdout=out, stderr=out
            )
        try:
            with anyio.fail_after(30):
                await until(lambda: "webhook certificate" in log.read_text(), 30)
                trusted = bundle(cluster)
                response = await answered(port, trusted, namespace)
            assert b"tulle-proxy" in base64.b64decode(response["patch"])
            anchors = mesh.directory.anchors_file.read_text().splitlines()[1]
            assert anchors.encode() in base64.b64decode(response["patch"])
            await until(lambda: heard)
            await until(lambda: "Injected" in cluster.kubectl("get", "events", "-n", namespace), 20)
            cluster.kubectl("apply", "-f", str(FOLDER))
            assert bundle(cluster) == trusted, "what it filled in is its own"

            process.send_signal(signal.SIGTERM)
            await until(lambda: process.poll() is not None)
            assert process.returncode == 0, log.read_text()
        finally:
            process.kill()
            process.wait()
    text = log.read_text()
    for trouble in ("ermission", "orbidden", "Traceback"):
        assert trouble not in text, text


async def answered(port: int, trusted: str, namespace: str) -> Any:
    """The answer, as soon as the webhook listens."""
    while True:
        try:
            return await asked(port, trusted, namespace)
        except aiohttp.ClientConnectorError:
            await anyio.sleep(0.05)
