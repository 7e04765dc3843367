"""`kubectl apply -f k8s/` and `tulle install` on a real API server: all is taken in, once."""

import json
import subprocess
import sys
from typing import Any

import pytest
import yaml

from cli.manifests import FOLDER
from tests.support.cluster import Cluster

Json = dict[str, Any]
CERTIFICATE = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCi0tLS0tRU5EIENFUlRJRklDQVRFLS0tLS0K"
OVERLAY = FOLDER / "overlays" / "example"
PLACE = "/webhooks/0/clientConfig/caBundle"


def tulle(*words: str) -> str:
    """What `tulle` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "cli", *words],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def apply(cluster: Cluster, text: str, *more: str) -> dict[str, str]:
    """What became of each object; a warning is an error."""
    out = cluster.kubectl("apply", "--warnings-as-errors", *more, "-f", "-", stdin=text)
    return dict(line.split(" ", 1) for line in out.splitlines())


def revisions(cluster: Cluster, names: dict[str, str]) -> dict[str, str]:
    """The revision of each of the objects."""
    jsonpath = "{range .items[*]}{.kind}/{.metadata.name} {.metadata.resourceVersion}{'\\n'}{end}"
    out = cluster.kubectl("get", *sorted(names), "-n", "tulle", "-o", f"jsonpath={jsonpath}")
    return dict(line.split() for line in out.splitlines())


def test_a_second_apply_changes_nothing_nor_what_others_have_filled_in_since(
    cluster: Cluster, installed: dict[str, str]
) -> None:
    cluster.kubectl(
        *("patch", "secret", "-n", "tulle", "tulle-injector-tls", "--type=merge"),
        *("-p", json.dumps({"data": {"tls.crt": CERTIFICATE, "tls.key": CERTIFICATE}})),
    )
    cluster.kubectl(
        *("patch", "mutatingwebhookconfiguration", "tulle-injector", "--type=json"),
        *("-p", json.dumps([{"op": "add", "path": PLACE, "value": CERTIFICATE}])),
    )
    before = revisions(cluster, installed)

    again = cluster.kubectl("apply", "-f", str(FOLDER))

    # kubectl sends the selector of a PodDisruptionBudget anew each time, and says `configured`.
    told = dict(line.split(" ", 1) for line in again.splitlines())
    budgets = {name for name in told if name.startswith("poddisruptionbudget.policy/")}
    assert told.keys() == installed.keys()
    assert {name: what for name, what in told.items() if what != "unchanged"} == dict.fromkeys(
        budgets, "configured"
    )
    assert revisions(cluster, installed) == before
    kept = cluster.kubectl("get", "secret", "-n", "tulle", "tulle-injector-tls", "-o", "json")
    assert json.loads(kept)["data"] == {"tls.crt": CERTIFICATE, "tls.key": CERTIFICATE}
    webhook = cluster.kubectl("get", "mutatingwebhookconfiguration", "tulle-injector", "-o", "json")
    assert json.loads(webhook)["webhooks"][0]["clientConfig"]["caBundle"] == CERTIFICATE


def test_what_install_prints_is_what_lies_in_k8s(
    cluster: Cluster, installed: dict[str, str]
) -> None:
    done = apply(cluster, tulle("install"), "--dry-run=server")

    assert done.keys() == installed.keys()
    assert {what.split()[0] for what in done.values()} <= {"unchanged", "configured"}


def test_whoever_applies_on_the_server_from_now_on_is_in_nobodys_way(
    cluster: Cluster, installed: dict[str, str]
) -> None:
    done = apply(cluster, tulle("install"), "--server-side", "--dry-run=server")

    assert done.keys() == installed.keys()


def test_every_option_makes_what_kubernetes_takes_without_a_warning(
    cluster: Cluster, installed: dict[str, str]
) -> None:
    words = (
        *("--ha", "--image", "r.example.org/tulle-control:0.1.0"),
        *("--set", "trustDomain=mesh.example.org", "--set", "logFormat=json"),
        *("--set", "identity.replicas=5", "--set", "webhook.timeoutSeconds=3"),
        *("--set", "config.tulle.dev/proxy-log-level=debug", "--set", "imagePullSecret=registry"),
    )

    done = apply(cluster, tulle("install", *words), "--dry-run=server")

    assert "configured" in done["statefulset.apps/tulle-nats"]
    (job,) = (name for name in done if name.startswith("job.batch/"))
    assert "created" in done[job]
    assert "configured" in done["deployment.apps/tulle-identity"]


def test_what_is_to_be_deleted_is_all_that_was_installed(
    cluster: Cluster, installed: dict[str, str]
) -> None:
    words = ("delete", "--dry-run=server", "-f", "-")

    done = cluster.kubectl(*words, stdin=tulle("uninstall", "--everything"))

    assert len(done.splitlines()) == len(installed)


def test_pods_that_may_more_than_they_need_are_warned_about(
    cluster: Cluster, installed: dict[str, str]
) -> None:
    text = tulle("install").replace("runAsNonRoot: true", "runAsNonRoot: false")

    with pytest.raises(subprocess.CalledProcessError) as caught:
        apply(cluster, text, "--dry-run=server")

    assert 'would violate PodSecurity "restricted:latest"' in caught.value.stderr


def test_an_overlay_changes_what_one_cluster_has_otherwise_and_nothing_else(
    cluster: Cluster, installed: dict[str, str]
) -> None:
    text = cluster.kubectl("kustomize", "--load-restrictor", "LoadRestrictionsNone", str(OVERLAY))

    done = apply(cluster, text, "--dry-run=server")

    job = "job.batch/tulle-bootstrap-0-1-0"
    assert done.keys() ^ installed.keys() == {job, f"{job}-example"}
    assert "registry.example.org/tulle-control:0.1.0" in text
    assert "image: tulle-control" not in text


def test_an_overlay_is_over_all_that_apply_reads() -> None:
    listed = yaml.safe_load((OVERLAY / "kustomization.yaml").read_text())["resources"]

    assert listed == sorted(f"../../{file.name}" for file in FOLDER.glob("*.yaml"))
