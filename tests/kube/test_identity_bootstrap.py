"""The program of the bootstrap Job on a real API server, with the rights that it has there and no more."""

import base64
import json
import re
import subprocess
import sys
from typing import Any

import anyio
import pytest

from common.clock import SystemClock
from common.config import environment
from common.kube.stored import Shelf
from services.identity.cluster import layout
from services.identity.cluster.bootstrap import Wanted, bootstrap
from tests.support.cluster import Cluster
from tests.support.mesh_in_cluster import bootstrapper
from tests.support.nats import until

pytestmark = pytest.mark.anyio


class Job:
    """The program, run as the Job runs it."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster, self.namespace = cluster, namespace
        self.kubeconfig = bootstrapper(cluster, namespace)

    def start(self, *more: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "services.identity.cluster", "bootstrap", *more]
        env = {
            "PATH": environment().get("PATH", ""),
            "TULLE_NAMESPACE": self.namespace,
            "TULLE_KUBECONFIG": str(self.kubeconfig),
        }
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe, text=True)

    def run(self, *more: str) -> tuple[int, str, str]:
        process = self.start(*more)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def objects(self) -> dict[str, Any]:
        """Everything of the mesh that is there, by kind and name."""
        text = self.cluster.kubectl("get", "secrets,configmaps", "-n", self.namespace, "-o", "json")
        items = json.loads(text)["items"]
        return {f"{item['kind']} {item['metadata']['name']}": item for item in items}


@pytest.fixture
def job(cluster: Cluster, namespace: str) -> Job:
    return Job(cluster, namespace)


EVERYTHING = {f"{kind} {name}" for kind, name in [*layout.names(), ("Secret", layout.MESH)]}


async def test_it_makes_everything_once_and_changes_nothing_the_second_time(job: Job) -> None:
    assert job.run()[::2] == (0, "")
    made = job.objects()
    code, out, err = job.run()

    assert made.keys() == EVERYTHING
    assert (code, err) == (0, "")
    assert "Secret tulle-mesh: is there\n" in out
    assert "made" not in out
    assert out.endswith("the mesh is complete\n")
    assert job.objects() == made
    labels = made["Secret tulle-nats"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/part-of"] == "tulle"


async def test_what_was_lost_is_derived_from_the_mesh_that_is_there(job: Job) -> None:
    job.run()
    before = {name: item["data"] for name, item in job.objects().items()}
    job.cluster.kubectl("delete", "-n", job.namespace, "secret/tulle-nats", "configmap/tulle-trust")
    job.cluster.kubectl("delete", "-n", job.namespace, "secret/tulle-bus-operator")

    code, out, _ = job.run()

    assert code == 0
    assert set(re.findall(r"(\S+): made", out)) == {
        "tulle-nats",
        "tulle-trust",
        "tulle-bus-operator",
    }
    assert {name: item["data"] for name, item in job.objects().items()} == before


async def test_without_the_mesh_but_with_what_came_from_it_somebody_has_to_decide(job: Job) -> None:
    job.run()
    job.cluster.kubectl("delete", "-n", job.namespace, "secret", "tulle-mesh")
    before = job.objects()

    code, _, err = job.run()

    assert code == 2
    assert f"namespace {job.namespace}: ConfigMap tulle-trust, Secret tulle-nats" in err
    assert "Restore tulle-mesh from your backup" in err
    assert job.objects() == before
    # The way out that it names is one.
    command = re.search(r"kubectl (delete .*)", err)
    assert command
    job.cluster.kubectl(*command[1].split())
    assert job.run()[0] == 0


async def test_of_several_at_once_all_go_on_with_the_mesh_of_one(job: Job) -> None:
    processes = [job.start() for _ in range(3)]
    done = [process.communicate(timeout=60) for process in processes]

    assert [process.returncode for process in processes] == [0, 0, 0], done
    objects = job.objects()
    assert objects.keys() == EVERYTHING
    code, out, _ = job.run()
    assert (code, "not as" in out) == (0, False)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--trust-domain=two.example", "made for trust domain 'cluster.local', not 'two.example'"),
        ("--join-tokens", "made without join tokens, not with them"),
        ("--nodes=3", r"made for 1 server\(s\) of NATS \(nats\), not 3 \(tulle-nats-0, "),
    ],
)
async def test_a_mesh_that_is_another_is_left_alone(job: Job, option: str, says: str) -> None:
    job.run()
    before = job.objects()

    code, _, err = job.run(option)

    assert code == 2
    assert re.search(says, err)
    assert job.objects() == before


async def test_something_else_in_its_place_is_left_alone(job: Job) -> None:
    job.cluster.kubectl("create", "secret", "generic", "tulle-mesh", "-n", job.namespace)

    code, _, err = job.run()

    assert code == 2
    assert "Secret tulle-mesh: has no key bus.json; expected a whole mesh directory" in err
    assert job.objects().keys() == {"Secret tulle-mesh"}


async def test_three_servers_have_a_configuration_each_and_names_by_which_they_are_reached(
    job: Job,
) -> None:
    assert job.run("--nodes=3")[0] == 0

    nats = job.objects()["Secret tulle-nats"]["data"]
    expected = {f"tulle-nats-{n}.conf" for n in range(3)}
    assert nats.keys() == {*expected, "server.pem", "server.key", "anchor.pem"}
    config = base64.b64decode(nats["tulle-nats-1.conf"]).decode()
    assert f'advertise: "tulle-nats-1.tulle-nats.{job.namespace}.svc:6222"' in config
    assert 'ca_file: "/mesh/nats/anchor.pem"' in config


async def test_it_waits_for_an_api_that_is_away(cluster: Cluster, namespace: str) -> None:
    told: list[str] = []
    wanted = Wanted(namespace=namespace)
    async with cluster.client() as client, anyio.create_task_group() as group:
        cluster.stop_api()
        try:
            group.start_soon(
                bootstrap, Shelf(client, namespace), wanted, told.append, SystemClock()
            )
            await until(lambda: told)
            assert "Kubernetes does not answer; trying again in" in told[0]
        finally:
            cluster.start_api()
            await until(cluster.ready, 60)

    assert told[-1].endswith(": made")
