"""`tulle install --ha` on a cluster that runs it: it comes up, survives a server, and goes again."""

from collections.abc import Iterator

import pytest

from tests.support.whole_cluster import WholeCluster, whole_cluster

pytestmark = pytest.mark.timeout(300)
WORKLOADS = (
    "statefulset/tulle-nats",
    *(f"deployment/tulle-{name}" for name in ("identity", "destination", "injector", "telemetry")),
)
INSTALL = "tulle install --ha --set logLevel=debug | kubectl apply -f -"


@pytest.fixture(scope="module")
def cluster() -> Iterator[WholeCluster]:
    """A cluster with the mesh on it, highly available."""
    with whole_cluster() as running:
        running.shell(INSTALL)
        come_up(running)
        yield running


def come_up(cluster: WholeCluster) -> None:
    for workload in WORKLOADS:
        cluster.kubectl("rollout", "status", workload, "-n", "tulle", "--timeout=55s")


def test_all_replicas_of_everything_come_up_and_all_is_well(cluster: WholeCluster) -> None:
    told = cluster.shell("tulle check --wait 60s")

    assert "nats 3, identity 3, destination 2, injector 2, telemetry 2" in told


def test_while_a_server_of_nats_is_away_the_mesh_answers(cluster: WholeCluster) -> None:
    cluster.kubectl("delete", "pod", "tulle-nats-1", "-n", "tulle", "--now")

    assert cluster.shell("tulle identity -o json")
    cluster.kubectl("rollout", "status", WORKLOADS[0], "-n", "tulle", "--timeout=55s")


def test_uninstalled_it_leaves_its_keys_and_nothing_outside_its_namespace(
    cluster: WholeCluster,
) -> None:
    kept = cluster.get("secret", "tulle-mesh", "-n", "tulle")["data"]

    cluster.shell("tulle uninstall | kubectl delete --ignore-not-found -f -")

    cluster.until(
        lambda: all(
            pod["status"]["phase"] == "Succeeded"
            for pod in cluster.get("pods", "-n", "tulle")["items"]
        ),
        "all pods but that of the Job are gone",
    )
    left = cluster.shell("kubectl get crd,clusterroles,mutatingwebhookconfigurations -o name")
    assert "tulle" not in left
    assert cluster.get("secret", "tulle-mesh", "-n", "tulle")["data"] == kept
