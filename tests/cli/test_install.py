"""`tulle install` and `tulle uninstall`: the manifests of k8s/ with options, and what to delete."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from cli.keys import ANY, KEYS
from cli.manifests import FOLDER, Manifests
from cli.root import tulle
from common.errors import InvalidSettings

Json = dict[str, Any]
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
VALUES = {
    "trustDomain": "mesh.example.org",
    "clusterDomain": "k8s.example.org",
    "imagePullPolicy": "Always",
    "imagePullSecret": "registry",
    "logLevel": "debug",
    "logFormat": "json",
    "nats.storage": "20Gi",
    "nats.storageClass": "fast",
    "webhook.failurePolicy": "Fail",
    "webhook.timeoutSeconds": "7",
}


def run(*words: str) -> Result:
    return CliRunner().invoke(tulle, words, prog_name="tulle", env={"TULLE_MESH": ""})


@cache
def printed(*words: str) -> dict[tuple[str, str], Json]:
    """The objects that are printed, by kind and name."""
    result = run(*words)
    assert result.exit_code == 0, result.stderr
    found = [item for item in yaml.load_all(result.stdout, Loader=LOADER) if item]
    named = {(item["kind"], item["metadata"]["name"]): item for item in found}
    assert len(named) == len(found)
    return named


def container(item: Json) -> Json:
    (only,) = item["spec"]["template"]["spec"]["containers"]
    found: Json = only
    return found


def variables(item: Json) -> dict[str, str]:
    return {v["name"]: v.get("value", "") for v in container(item)["env"]}


def test_without_options_it_is_what_lies_in_k8s_to_the_byte() -> None:
    result = run("install")

    assert result.stdout == "".join(file.read_text() for file in sorted(FOLDER.glob("*.yaml")))


def test_the_injector_answers_until_the_api_server_asks_another() -> None:
    template = printed("install")["Deployment", "tulle-injector"]["spec"]["template"]["spec"]
    (container,) = template["containers"]
    _, seconds = container["lifecycle"]["preStop"]["exec"]["command"]

    # It has ten seconds more for whoever has asked by then.
    assert 3 <= int(seconds) <= template["terminationGracePeriodSeconds"] - 10


def test_highly_available_is_three_of_nats_and_several_of_all_else_on_machines_of_their_own() -> (
    None
):
    plain, several = printed("install"), printed("install", "--ha")

    replicas = {
        name: item["spec"]["replicas"]
        for (kind, name), item in several.items()
        if kind in ("Deployment", "StatefulSet")
    }
    assert replicas == {
        "tulle-nats": 3,
        "tulle-identity": 3,
        "tulle-destination": 2,
        "tulle-injector": 2,
        "tulle-telemetry": 2,
    }
    for (kind, name), item in several.items():
        if name in replicas and kind in ("Deployment", "StatefulSet"):
            affinity = item["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"]
            (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]
            assert term["topologyKey"] == "kubernetes.io/hostname"
            assert term["labelSelector"] == item["spec"]["selector"]
    nats = container(several["StatefulSet", "tulle-nats"])
    assert nats["command"][-1] == "/mesh/nats/$(POD_NAME).conf"
    assert "POD_NAME" in {one["name"] for one in nats["env"]}
    injector = variables(several["Deployment", "tulle-injector"])
    for variable in ("TULLE_BUS", "TULLE_PROXY_BUS"):
        assert injector[variable].split(",") == [
            f"tls://tulle-nats-{n}.tulle-nats.tulle.svc:4222" for n in (0, 1, 2)
        ]
    (job,) = (item for (kind, _), item in several.items() if kind == "Job")
    assert container(job)["command"][-2:] == ["--nodes", "3"]
    (webhook,) = several["MutatingWebhookConfiguration", "tulle-injector"]["webhooks"]
    assert webhook["failurePolicy"] == "Fail"
    assert plain.keys() - several.keys() == {("Job", "tulle-bootstrap-0-1-0")}


@pytest.mark.parametrize("key", KEYS)
def test_a_key_changes_what_it_is_for_and_little_else(key: str) -> None:
    default = "2" if key.endswith(".replicas") else "700m" if key.endswith(".cpu") else "700Mi"
    value = VALUES.get(key, default)

    plain, changed = printed("install"), printed("install", "--set", f"{key}={value}")

    differ = {name for name in changed if changed[name] != plain.get(name)}
    assert differ, "it has an effect"
    assert value in yaml.safe_dump([changed[name] for name in differ])
    service, dot, _ = key.partition(".")
    if dot and service != "webhook":
        assert {name for _, name in differ} == {f"tulle-{service}"}


def test_whom_one_asks_for_a_key_lists_them_all() -> None:
    told = run("install", "--help").stdout

    for key in (*KEYS, ANY):
        assert key in told


def test_what_proxies_have_where_nobody_says_otherwise_is_handed_to_the_injector() -> None:
    words = ("--set", "config.tulle.dev/proxy-log-level=debug", "--set", "imagePullPolicy=Never")

    found = variables(printed("install", *words)["Deployment", "tulle-injector"])

    defaults = yaml.safe_load(found["TULLE_PROXY_DEFAULTS"])
    assert defaults == {"proxy-log-level": "debug", "image-pull-policy": "Never"}


def test_images_are_replaced_everywhere() -> None:
    found = printed("install", "--image", "r.example.org/c:7", "--proxy-image", "r.example.org/p:7")

    pods = [item for item in found.values() if "template" in item.get("spec", {})]
    assert len(pods) == 6
    assert {container(item)["image"] for item in pods} == {"r.example.org/c:7"}
    injector = variables(found["Deployment", "tulle-injector"])
    assert injector["TULLE_PROXY_IMAGE"] == "r.example.org/p:7"


def test_another_bootstrap_is_another_job_and_the_same_one_is_the_same() -> None:
    def job(*words: str) -> str:
        (name,) = (name for kind, name in printed("install", *words) if kind == "Job")
        return name

    plain, other = job(), job("--image", "other:1")

    assert plain == "tulle-bootstrap-0-1-0"
    assert other.startswith(f"{plain}-")
    assert job("--image", "other:1") == other
    assert job("--image", "other:2") != other
    assert job("--set", "logLevel=debug") == plain


def test_every_mistake_is_told_with_what_was_expected() -> None:
    mistakes = {
        "nats.storage=1Gi": "--set nats.storage: '1Gi': expected an amount of at least 5Gi",
        "identity.replicas=0": "identity.replicas: '0': expected a whole number from 1 to 9",
        "size=3": "'size': no such key; expected one of trustDomain, clusterDomain",
        "trustDomain=a b": "trustDomain: domain 'a b': expected a DNS name",
        "logLevel": "'logLevel': expected KEY=VALUE",
        "config.tulle.dev/proxy-log-level=loud": "config.tulle.dev/proxy-log-level: 'loud'",
    }

    result = run("install", *(word for text in mistakes for word in ("--set", text)))

    assert result.exit_code == 2
    assert result.stdout == ""
    for told in mistakes.values():
        assert told in result.stderr


def test_no_image_is_a_mistake() -> None:
    assert "expected an image such as" in run("install", "--image", "a b").stderr


def test_what_is_deleted_is_what_was_installed_the_webhook_first_and_the_namespace_stays() -> None:
    installed = list(printed("install"))

    deleted = list(printed("uninstall"))

    assert deleted[0] == ("MutatingWebhookConfiguration", "tulle-injector")
    assert deleted == [name for name in reversed(installed) if name[0] != "Namespace"]


def test_everything_is_the_namespace_too_and_last() -> None:
    deleted = list(printed("uninstall", "--everything"))

    assert deleted[-1] == ("Namespace", "tulle")
    assert len(deleted) == len(printed("install"))


def test_a_folder_without_manifests_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="no manifests; expected those of Tulle's k8s/"):
        Manifests(tmp_path)

    (tmp_path / "a.yaml").write_text("a: b: c\n")
    with pytest.raises(InvalidSettings, match="line 1"):
        Manifests(tmp_path)
