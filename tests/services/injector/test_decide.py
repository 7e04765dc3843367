"""Which pods get a proxy, and the reason why others do not."""

from typing import Any

import pytest

from services.injector.decide import decide
from tests.support.pods import a_pod

INJECT = "tulle.dev/inject"


@pytest.mark.parametrize(
    ("namespace", "pod", "skip"),
    [
        ("enabled", None, None),
        ("enabled", "enabled", None),
        ("enabled", "disabled", "injection_disable_annotation_present"),
        (None, "enabled", None),
        ("disabled", "enabled", None),
        (None, None, "injection_enable_annotation_absent"),
        ("disabled", None, "injection_disable_annotation_present"),
        (None, "disabled", "injection_disable_annotation_present"),
        ("enabled", "yes", "invalid_inject_annotation_at_workload"),
        ("true", None, "invalid_inject_annotation_at_ns"),
        ("true", "enabled", None),
    ],
)
def test_the_pods_annotation_wins_over_its_namespaces(
    namespace: str | None, pod: str | None, skip: str | None
) -> None:
    own = {INJECT: pod} if pod else {}
    above = {INJECT: namespace} if namespace else {}

    assert decide(a_pod(own), above).skip == skip


def test_a_label_counts_where_there_is_no_annotation() -> None:
    labelled = a_pod()
    labelled["metadata"]["labels"] = {INJECT: "disabled"}

    assert decide(labelled, {INJECT: "enabled"}).skip == "injection_disable_annotation_present"
    labelled["metadata"]["annotations"] = {INJECT: "enabled"}
    assert decide(labelled, {}).skip is None


def test_a_value_that_is_none_is_told_with_where_it_stands() -> None:
    verdict = decide(a_pod(), {INJECT: "ingress"})

    assert "'ingress' at the namespace: expected enabled or disabled" in verdict.warning


@pytest.mark.parametrize(
    ("spec", "skip", "told"),
    [
        ({"hostNetwork": True}, "host_network_enabled", "hostNetwork"),
        (
            {"initContainers": [{"name": "tulle-redirect", "image": "x"}]},
            "sidecar_already_exists",
            "tulle-redirect",
        ),
        (
            {"initContainers": [{"name": "istio-init", "image": "x"}]},
            "sidecar_already_exists",
            "istio-init",
        ),
        (
            {"initContainers": [{"name": "p", "image": "cr.l5d.io/linkerd/proxy:v1@sha256:0"}]},
            "sidecar_already_exists",
            "linkerd/proxy",
        ),
        ({"volumes": [{"name": "tulle-state"}]}, "sidecar_already_exists", "tulle-state"),
        ({"containers": []}, "unsupported_resource", "no containers"),
        ({"os": {"name": "windows"}}, "unsupported_resource", "Windows"),
    ],
)
def test_a_pod_that_cannot_have_a_proxy_says_why(
    spec: dict[str, Any], skip: str, told: str
) -> None:
    verdict = decide(a_pod({INJECT: "enabled"}, **spec), {})

    assert (verdict.skip, verdict.ours) == (skip, False)
    assert told in verdict.warning


@pytest.mark.parametrize("image", ["proxy", "registry:5000/own/proxy:1", "notlinkerd/proxy-x"])
def test_images_of_other_proxies_are_no_sidecars(image: str) -> None:
    pod = a_pod({INJECT: "enabled"}, initContainers=[{"name": "p", "image": image}])

    assert decide(pod, {}).skip is None


def test_a_static_pods_mirror_is_left_alone() -> None:
    verdict = decide(a_pod({"kubernetes.io/config.mirror": "x"}), {INJECT: "enabled"})

    assert verdict.skip == "unsupported_resource"


def test_what_is_no_pod_at_all_is_refused_without_a_crash() -> None:
    strange: list[dict[str, Any]] = [{}, {"spec": None}, {"spec": []}, {"spec": {"containers": 1}}]
    for broken in strange:
        assert decide(broken, {INJECT: "enabled"}).skip == "unsupported_resource"
