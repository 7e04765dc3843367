"""Injection: what a pod looks like afterwards, that it is done once, and that it can be undone."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import config
from proxy.redirect.__main__ import main as redirect
from proxy.settings import Settings
from services.injector.annotations import PREFIX
from services.injector.inject import inject, uninject
from services.injector.patch import Operation, apply, copied, spell
from services.injector.sidecar import TRUST_ANCHORS
from tests.support.pods import ANCHORS, MESH, a_pod, container, environment_of, patched

ENABLED = {"tulle.dev/inject": "enabled"}


def injected(pod: dict[str, Any], namespace: dict[str, str] | None = None) -> dict[str, Any]:
    found = inject(pod, MESH, namespace or ENABLED)
    assert found.verdict.skip is None
    return patched(pod, found.operations)


def test_the_redirect_comes_first_and_the_proxy_before_the_pods_own_start() -> None:
    pod = injected(a_pod(initContainers=[{"name": "migrate", "image": "m"}]))

    first, second, third = pod["spec"]["initContainers"]
    assert (first["name"], second["name"], third["name"]) == (
        "tulle-redirect",
        "tulle-proxy",
        "migrate",
    )
    assert second["restartPolicy"] == "Always"
    assert second["startupProbe"]["httpGet"] == {"path": "/ready", "port": 4191}
    assert [one["name"] for one in pod["spec"]["containers"]] == ["web"]


@pytest.mark.parametrize(
    ("wait", "order"),
    [("enabled", ["tulle-proxy", "web"]), ("disabled", ["web", "tulle-proxy"])],
)
def test_a_classic_sidecar_stands_among_the_containers(wait: str, order: list[str]) -> None:
    asked = {PREFIX + "proxy-enable-native-sidecar": "false", PREFIX + "proxy-await": wait}
    asked[PREFIX + "proxy-wait-before-exit-seconds"] = "7"
    pod = injected(a_pod(asked))

    proxy = container(pod, "tulle-proxy")
    assert [one["name"] for one in pod["spec"]["containers"]] == order
    assert [one["name"] for one in pod["spec"]["initContainers"]] == ["tulle-redirect"]
    assert not {"restartPolicy", "startupProbe"} & proxy.keys()
    assert ("postStart" in proxy["lifecycle"]) == (wait == "enabled")
    assert proxy["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "7"]


def test_what_starts_a_pod_has_the_network_to_itself_before_a_classic_sidecar() -> None:
    classic = {PREFIX + "proxy-enable-native-sidecar": "false"}
    pod = injected(a_pod(classic, initContainers=[{"name": "migrate", "image": "m"}]))

    names = [one["name"] for one in pod["spec"]["initContainers"]]
    assert names == ["migrate", "tulle-redirect"]


def test_what_the_proxy_is_told_are_settings_that_it_understands() -> None:
    asked = {
        PREFIX + "inbound-port": "5143",
        PREFIX + "admin-port": "5191",
        PREFIX + "proxy-log-level": "warn",
        PREFIX + "shutdown-grace-period": "5m",
        PREFIX + "proxy-outbound-connect-timeout": "250ms",
        PREFIX + "proxy-additional-env": '[{"name": "TULLE_MAX_CONNECTIONS", "value": "77"}]',
    }

    told = config.load(Settings, environment_of(injected(a_pod(asked))))

    assert told.inbound_listen.endswith(":5143")
    assert told.admin_listen.endswith(":5191")
    assert (told.log_level, told.shutdown_grace_seconds) == ("warning", 300)
    assert (told.outbound_connect_seconds, told.max_connections) == (0.25, 77)
    assert told.bus == MESH.bus


def test_what_the_redirect_is_told_are_flags_that_it_understands(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = {
        PREFIX + "skip-inbound-ports": "25,7000-7002",
        PREFIX + "skip-outbound-ports": "",
        PREFIX + "skip-subnets": "192.0.2.0/24,2001:db8::/32",
        PREFIX + "proxy-uid": "3000",
        PREFIX + "proxy-gid": "3001",
        PREFIX + "outbound-port": "5140",
    }
    command = container(injected(a_pod(asked)), "tulle-redirect")["command"]

    assert command[:3] == ["python", "-m", "proxy.redirect"]
    assert redirect([*command[3:], "--simulate"]) == 0
    rules = capsys.readouterr().out
    for part in ("--uid-owner 3000", "--gid-owner 3001", "25,7000:7002", "192.0.2.0/24"):
        assert part in rules
    assert "--to-port 5140" in rules
    assert "4567" not in rules


def test_only_the_redirect_has_capabilities_and_only_for_its_rules() -> None:
    pod = injected(a_pod({PREFIX + "proxy-uid": "3000", PREFIX + "proxy-gid": "3001"}))

    context = container(pod, "tulle-proxy")["securityContext"]
    assert context == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": 3000,
        "runAsGroup": 3001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    context = container(pod, "tulle-redirect")["securityContext"]
    assert context["capabilities"] == {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]}


def test_the_token_is_for_identity_alone_and_the_anchors_lie_beside_it() -> None:
    pod = injected(a_pod())

    (volume,) = [v for v in pod["spec"]["volumes"] if v["name"] == "tulle-identity"]
    token, anchors = volume["projected"]["sources"]
    assert token["serviceAccountToken"]["audience"] == "identity.tulle.dev"
    (item,) = anchors["downwardAPI"]["items"]
    assert item["fieldRef"]["fieldPath"] == f"metadata.annotations['{TRUST_ANCHORS}']"
    assert pod["metadata"]["annotations"][TRUST_ANCHORS] == ANCHORS
    mounted = [m["name"] for m in container(pod, "web").get("volumeMounts", [])]
    assert mounted == []


def test_the_pod_says_what_holds_for_it() -> None:
    own = {PREFIX + "inbound-port": "x", "mine": "1"}
    namespace = ENABLED | {PREFIX + "opaque-ports": "25", PREFIX + "proxy-log-level": "what"}

    found = inject(a_pod(own), MESH, namespace)

    pod = patched(a_pod(own), found.operations)
    annotations = pod["metadata"]["annotations"]
    assert {key: text for key, text in annotations.items() if not key.startswith("tulle.dev/")} == {
        "mine": "1",
        PREFIX + "opaque-ports": "25",
    }
    assert pod["metadata"]["labels"] == {"tulle.dev/meshed": "true"}
    assert [warning.partition(": ")[0] for warning in found.warnings] == [
        PREFIX + "inbound-port",
        "namespace",
    ]


@pytest.mark.parametrize(
    ("kind", "name", "owner"),
    [
        ("ReplicaSet", "web-7d9f", "web"),
        ("ReplicaSet", "web", "web"),
        ("StatefulSet", "db-main", "db-main"),
    ],
)
def test_the_proxy_knows_what_made_its_pod(kind: str, name: str, owner: str) -> None:
    pod = a_pod()
    pod["metadata"]["ownerReferences"] = [{"kind": kind, "name": name}]

    assert environment_of(injected(pod))["TULLE_OWNER"] == owner


def test_resources_are_as_annotated_for_both_containers() -> None:
    asked = {PREFIX + "proxy-cpu-request": "10m", PREFIX + "proxy-memory-limit": "64Mi"}
    pod = injected(a_pod(asked))

    for name in ("tulle-proxy", "tulle-redirect"):
        expected = {"requests": {"cpu": "10m"}, "limits": {"memory": "64Mi"}}
        assert container(pod, name)["resources"] == expected


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"securityContext": {"runAsUser": 2102}}, "runs as user 2102"),
        (
            {"containers": [{"name": "a", "ports": [{"containerPort": 4143}]}]},
            "port 4143 is the proxy's",
        ),
        (
            {"containers": [{"name": "a", "ports": [{"containerPort": 53, "protocol": "UDP"}]}]},
            "UDP does not go through the mesh",
        ),
        (
            {"containers": [{"name": "a", "readinessProbe": {"tcpSocket": {"port": 80}}}]},
            "readinessProbe: tcpSocket reaches the proxy",
        ),
    ],
)
def test_what_will_hardly_work_is_told(spec: dict[str, Any], told: str) -> None:
    (warning,) = inject(a_pod(**spec), MESH, ENABLED).warnings

    assert told in warning


def test_a_pod_that_ends_is_warned_of_a_sidecar_that_does_not() -> None:
    classic = {PREFIX + "proxy-enable-native-sidecar": "false"}

    (warning,) = inject(a_pod(classic, restartPolicy="Never"), MESH, ENABLED).warnings
    assert "never completes" in warning
    assert inject(a_pod(restartPolicy="Never"), MESH, ENABLED).warnings == ()
    assert inject(a_pod(classic, restartPolicy="Always"), MESH, ENABLED).warnings == ()


@pytest.mark.parametrize("probe", ["httpGet", "grpc"])
def test_probes_are_warned_of_a_policy_that_refuses_the_kubelet(probe: str) -> None:
    containers = [{"name": "a", "livenessProbe": {probe: {"port": 80}}}]
    policy = PREFIX + "default-inbound-policy"

    (warning,) = inject(a_pod({policy: "deny"}, containers=containers), MESH, ENABLED).warnings
    assert "livenessProbe: the kubelet has no certificate, so deny refuses it" in warning
    for one in ({}, {policy: "all-unauthenticated"}):
        assert inject(a_pod(one, containers=containers), MESH, ENABLED).warnings == ()


def test_the_patch_is_the_smallest_that_does_it() -> None:
    pod = a_pod({"mine": "1"}, volumes=[{"name": "data"}])

    operations = inject(pod, MESH, ENABLED).operations

    assert [f"{one.op} {one.path}" for one in operations] == [
        "add /metadata/annotations/tulle.dev~1created-by",
        "add /metadata/annotations/tulle.dev~1proxy-version",
        "add /metadata/annotations/tulle.dev~1trust-anchors",
        "add /metadata/labels",
        "add /spec/initContainers",
        "add /spec/volumes/-",
        "add /spec/volumes/-",
        "add /spec/volumes/-",
    ]


ITEMS = st.lists(st.fixed_dictionaries({"name": st.sampled_from("abc"), "image": st.just("x")}))
TEXTS = st.dictionaries(st.sampled_from(["a", "b/c", "d~e"]), st.just("1"), min_size=1)
PODS = st.fixed_dictionaries(
    {
        "spec": st.fixed_dictionaries(
            {"containers": ITEMS.filter(bool)},
            optional={"initContainers": ITEMS.filter(bool), "volumes": ITEMS.filter(bool)},
        )
    },
    optional={
        "metadata": st.fixed_dictionaries(
            {"name": st.just("a")}, optional={"annotations": TEXTS, "labels": TEXTS}
        )
    },
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        PREFIX + "proxy-enable-native-sidecar": st.sampled_from(["true", "false"]),
        PREFIX + "proxy-await": st.sampled_from(["enabled", "disabled"]),
    },
)


@given(PODS, OPTIONS, st.sampled_from([(), ("spec", "template")]))
def test_injecting_twice_is_injecting_once_and_undoing_it_leaves_what_was(
    pod: dict[str, Any], options: dict[str, str], at: tuple[str, ...]
) -> None:
    if options:
        pod.setdefault("metadata", {}).setdefault("annotations", {}).update(options)
    document: dict[str, Any] = pod
    for part in reversed(at):
        document = {part: document}
    before = copied(document)

    found = inject(document, MESH, ENABLED, at=at)
    after = patched(document, found.operations)
    again = inject(after, MESH, ENABLED, at=at)

    assert document == before
    assert (again.operations, again.verdict.ours) == ((), True)
    assert patched(after, uninject(after, at=at)) == before


def test_there_is_nothing_to_undo_where_nothing_was_done() -> None:
    assert uninject(a_pod({"mine": "1"})) == ()


def test_what_the_pod_has_already_is_not_said_again() -> None:
    pod = a_pod({})
    pod["metadata"]["labels"] = {"tulle.dev/meshed": "true"}

    operations = inject(pod, MESH, ENABLED).operations

    assert not [one for one in operations if one.path.startswith("/metadata/labels")]


@given(st.lists(st.text("~/01a", max_size=5), min_size=1).map(tuple))
def test_a_path_is_read_as_it_was_spelled(pointer: tuple[str, ...]) -> None:
    assert tuple(Operation("remove", spell(pointer)).pointer) == pointer


def test_a_patch_that_does_not_fit_is_not_applied_somewhere_else() -> None:
    with pytest.raises(IndexError):
        apply({"a": []}, [Operation("add", "/a/1", "x")])
    with pytest.raises(KeyError):
        apply({}, [Operation("remove", "/a")])
