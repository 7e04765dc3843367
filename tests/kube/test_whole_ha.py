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
def whole() -> Iterator[WholeCluster]:
    """A cluster with the mesh on it, highly available."""
    with whole_cluster() as running:
        running.shell(INSTALL)
        come_up(running)
        yield running


def come_up(whole: WholeCluster) -> None:
    for workload in WORKLOADS:
        whole.kubectl("rollout", "status", workload, "-n", "tulle", "--timeout=55s")


def test_all_replicas_of_everything_come_up_and_all_is_well(whole: WholeCluster) -> None:
    told = whole.shell("tulle check --wait 60s")

    assert "nats 3, identity 3, destination 2, injector 2, telemetry 2" in told


def test_while_a_server_of_nats_is_away_the_mesh_answers(whole: WholeCluster) -> None:
    whole.kubectl("delete", "pod", "tulle-nats-1", "-n", "tulle", "--now")

    assert whole.shell("tulle identity -o json")
    whole.kubectl("rollout", "status", WORKLOADS[0], "-n", "tulle", "--timeout=55s")


def test_uninstalled_it_leaves_its_keys_and_nothing_outside_its_namespace(
    whole: WholeCluster,
) -> None:
    kept = whole.get("secret", "tulle-mesh", "-n", "tulle")["data"]

    whole.shell("tulle uninstall | kubectl delete --ignore-not-found -f -")

    whole.until(
        lambda: all(
            pod["status"]["phase"] == "Succeeded"
            for pod in whole.get("pods", "-n", "tulle")["items"]
        ),
        "all pods but that of the Job are gone",
    )
    left = whole.shell("kubectl get crd,clusterroles,mutatingwebhookconfigurations -o name")
    assert "tulle" not in left
    assert whole.get("secret", "tulle-mesh", "-n", "tulle")["data"] == kept
