"""`tulle` reaches a mesh in a cluster: keys from the API, NATS through a port; and says why it cannot."""

import base64
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from common.contract import subjects
from common.contract.events import Event
from common.names import WorkloadName
from common.nats_server import free_port
from services.identity import credentials
from tests.support.cluster import Cluster
from tests.support.identity import Mesh, nats
from tests.support.in_a_cluster import Operator, put_keys
from tests.support.nats import until

pytestmark = pytest.mark.anyio

ISSUED = subjects.event("identity", "issued")
EVENT = Event(component="identity", what="issued", message="web", time=1.0)


@pytest.fixture
async def mesh(cluster: Cluster, namespace: str, tmp_path: Path) -> AsyncIterator[Mesh]:
    """A mesh whose keys are in the cluster."""
    async with nats(tmp_path) as mesh:
        await put_keys(cluster, namespace, mesh)
        yield mesh


@pytest.fixture
def operator(cluster: Cluster, namespace: str, mesh: Mesh, tmp_path: Path) -> Operator:
    return Operator(cluster, namespace, mesh, tmp_path)


async def test_commands_reach_the_bus_through_a_port_that_is_closed_afterwards(
    mesh: Mesh, operator: Operator
) -> None:
    async with mesh.identity():
        status = await operator.tulle("trust", "status")
        forwards = operator.forwards()
        by_name = await operator.tulle("identity", "--context", "test", "-o", "json")

    assert (status.returncode, status.stderr) == (0, "")
    assert "phase     steady" in status.stdout
    assert not forwards
    assert (by_name.returncode, by_name.stdout.count('"anchor"')) == (0, 1), by_name.stderr


async def test_a_way_that_is_lost_is_made_anew(mesh: Mesh, operator: Operator) -> None:
    words = ("bus", "sub", "tulle.v1.events.>", "--count", "2", "-o", "json")
    async with mesh.role("identity") as teller, operator.started(*words) as listener:
        assert listener.stdout is not None
        output = BufferedByteReceiveStream(listener.stdout)
        for turn in range(2):
            with anyio.fail_after(30):
                line = b""
                while not line:
                    await teller.publish(ISSUED, EVENT)
                    with anyio.move_on_after(0.2):
                        line = await output.receive_until(b"\n", 65536)
            if turn == 0:
                os.kill(int(operator.pid_file.read_text()), signal.SIGTERM)
        with anyio.fail_after(10):
            await listener.wait()
    await until(lambda: not operator.forwards())

    assert listener.returncode == 0
    assert b'"web"' in line


async def test_nats_can_be_reached_without_kubectl(mesh: Mesh, operator: Operator) -> None:
    async with mesh.identity():
        direct = await operator.tulle("--bus", mesh.server.url, "trust", "status", PATH="/nowhere")

    assert (direct.returncode, direct.stderr) == (0, "")


async def test_a_person_with_a_folder_needs_no_secret(
    mesh: Mesh, operator: Operator, tmp_path: Path
) -> None:
    credentials.add(mesh.directory, "ada", "reader", tmp_path / "ada")
    async with mesh.identity():
        done = await operator.tulle(
            "--mesh", str(tmp_path / "ada"), "--context", "test", "identity"
        )

    assert done.returncode == 0, done.stderr


async def test_what_is_missing_is_told_in_one_line(
    cluster: Cluster, mesh: Mesh, operator: Operator
) -> None:
    cluster.kubectl("create", "serviceaccount", "nobody", "-n", operator.namespace)
    token = cluster.kubectl("create", "token", "nobody", "-n", operator.namespace).strip()
    nobody = str(cluster.write_kubeconfig("nobody", token))
    away = str(cluster.write_kubeconfig("away", token, free_port()))

    told = [
        await operator.quickly("stat", TULLE_NAMESPACE="default"),
        await operator.quickly("stat", PATH="/nowhere"),
        await operator.quickly("stat", RELAY_REFUSED='pods "tulle-nats-0" is forbidden'),
        await operator.quickly("stat", KUBECONFIG=nobody),
        await operator.quickly("stat", KUBECONFIG=away),
        await operator.quickly("stat", "--context", "other"),
        await operator.quickly("bus", "users", KUBECONFIG=nobody),
        await operator.quickly("stat", KUBECONFIG="/nowhere"),
    ]

    assert [done.exit_code for done in told] == [1, 2, 1, 1, 1, 1, 1, 2]
    assert all(done.stderr.count("\n") == 1 and not done.stdout for done in told)
    for done, words in zip(
        told,
        (
            "there is no ConfigMap tulle-trust in namespace default; is Tulle installed there?",
            "kubectl: not found on PATH",
            'pods "tulle-nats-0" is forbidden',
            "you may not read ConfigMap tulle-trust",
            "the Kubernetes API does not answer",
            "other",
            "you may not read Secret tulle-mesh",
            "which mesh?",
        ),
        strict=True,
    ):
        assert words in done.stderr


async def test_ctrl_c_ends_the_way_as_well(mesh: Mesh, operator: Operator) -> None:
    async with operator.started("bus", "sub", "tulle.v1.>") as listener:
        await until(operator.pid_file.exists, 20)
        listener.send_signal(signal.SIGINT)
        with anyio.fail_after(10):
            assert await listener.wait() == 130

    assert not operator.forwards()


async def test_people_are_let_in_and_tokens_issued_by_the_secret_that_holds_the_mesh(
    cluster: Cluster, mesh: Mesh, operator: Operator, tmp_path: Path
) -> None:
    def held() -> dict[str, str]:
        text = cluster.kubectl(
            "get", "secret", "tulle-mesh", "-n", operator.namespace, "-o", "json"
        )
        data: dict[str, str] = json.loads(text)["data"]
        return data

    before = held()
    added = await operator.quickly("bus", "user", "ada", "--out", str(tmp_path / "ada"))
    with_ada = held()
    shown = await operator.quickly("bus", "users", "-o", "json")
    again = await operator.quickly("bus", "user", "ada", "--out", str(tmp_path / "more"))
    removed = await operator.quickly("bus", "user", "ada", "--remove")
    token = await operator.quickly("token", "shop/web-1", "--service-account", "web")

    assert (added.exit_code, removed.exit_code, again.exit_code) == (0, 0, 2), added.output
    assert (tmp_path / "ada" / "keys" / "person.seed").read_text().startswith("SU")
    assert [one["name"] for one in json.loads(shown.stdout)] == ["ada"]
    assert {key for key in with_ada if with_ada[key] != before.get(key)} == {"people.json"}
    assert json.loads(base64.b64decode(held()["people.json"])) == {"people": []}
    web = WorkloadName("shop", "web-1")
    async with mesh.identity(), mesh.workload_bus(web, token.stdout.strip()) as proxy:
        with anyio.fail_after(15):
            await proxy.wait_connected()
