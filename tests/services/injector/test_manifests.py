"""Manifests: every kind of workload, alone and in company, and nothing else touched."""

import json
from typing import Any

import pytest
import yaml

from services.injector.manifests import KINDS, inject_text, uninject_text
from services.injector.yaml_text import InvalidManifest, dump, parse
from tests.support.pods import MESH

POD_SPEC = {"containers": [{"name": "web", "image": "nginx"}]}


def workload(kind: str, annotations: dict[str, str] | None = None) -> dict[str, Any]:
    """The smallest object of a kind that makes pods."""
    group, path = KINDS[kind]
    metadata = {"annotations": annotations} if annotations else {"labels": {"app": "web"}}
    pod: dict[str, Any] = {"metadata": metadata, "spec": POD_SPEC}
    for part in reversed(path):
        pod = {part: pod}
    api = f"{group}/v1" if group else "v1"
    pod["metadata"] = {"name": "web", **pod.get("metadata", {})}
    return {"apiVersion": api, "kind": kind, **pod}


def names(document: dict[str, Any]) -> list[str]:
    found: Any = document
    for part in KINDS[document["kind"]][1]:
        found = found[part]
    return [one["name"] for one in found["spec"].get("initContainers", [])]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_that_makes_pods_is_injected_and_back(kind: str) -> None:
    text = yaml.safe_dump(workload(kind))

    made, (outcome,) = inject_text(text, MESH)
    back, (undone,) = uninject_text(made)

    assert (outcome.kind, outcome.name, outcome.result) == (kind, "web", "injected")
    assert names(yaml.safe_load(made)) == ["tulle-redirect", "tulle-proxy"]
    assert undone.result == "uninjected"
    assert yaml.safe_load(back) == workload(kind)


def test_a_template_tells_its_proxy_who_owns_it_and_a_pod_does_not() -> None:
    for kind, owner in (("Deployment", "web"), ("Pod", None)):
        made, _ = inject_text(json.dumps(workload(kind)), MESH)
        assert ('"TULLE_OWNER"' in made) == (owner is not None)


STREAM = """\
# ours
apiVersion: v1
kind: Namespace
metadata: {name: shop, annotations: {config.tulle.dev/proxy-log-level: debug, tulle.dev/inject: disabled}}
---

---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: ünï}, data: {a: "yes", b: 'no'}}
- apiVersion: batch/v1
  kind: Job
  metadata: {name: once, namespace: shop}
  spec: {template: {spec: {containers: [{name: a, image: b}]}}}
- apiVersion: v1
  kind: List
  items:
  - apiVersion: apps/v1
    kind: Deployment
    metadata: {name: web, namespace: other}
    spec: {template: {spec: {containers: [{name: a, image: b}]}}}
---
# last, and without an end of its line
apiVersion: example.org/v1
kind: Deployment
metadata: {name: theirs}"""


def test_lists_and_documents_keep_their_order_and_what_is_not_changed_keeps_its_bytes() -> None:
    made, outcomes = inject_text(STREAM, MESH)

    assert [(one.kind, one.name, one.result, one.reason) for one in outcomes] == [
        ("Job", "once", "skipped", "injection_disable_annotation_present"),
        ("Deployment", "web", "injected", ""),
    ]
    head, empty, listed, last = made.split("\n---\n")
    assert [head, empty] == STREAM.split("\n---\n")[:2]
    assert last == STREAM.rpartition("\n---\n")[2]
    config, job, inner = yaml.safe_load(listed)["items"]
    assert config["data"] == {"a": "yes", "b": "no"}
    assert 'a: "yes"' in listed
    assert "ünï" in listed
    assert "initContainers" not in job["spec"]["template"]["spec"]
    assert names(inner["items"][0]) == ["tulle-redirect", "tulle-proxy"]


def test_a_namespace_in_the_same_file_hands_down_its_configuration() -> None:
    text = STREAM.replace("tulle.dev/inject: disabled", "tulle.dev/inject: enabled")

    made, outcomes = inject_text(text, MESH)

    assert [one.result for one in outcomes] == ["injected", "injected"]
    job = yaml.safe_load(made.split("\n---\n")[2])["items"][1]
    annotations = job["spec"]["template"]["metadata"]["annotations"]
    assert annotations["config.tulle.dev/proxy-log-level"] == "debug"


def test_what_is_injected_already_or_refuses_comes_out_to_the_byte() -> None:
    once, _ = inject_text(yaml.safe_dump(workload("Deployment")), MESH)
    refusing = yaml.safe_dump(workload("Pod", {"tulle.dev/inject": "disabled"}))

    for text, reason in (
        (once, "sidecar_already_exists"),
        (refusing, "injection_disable_annotation_present"),
    ):
        again, (outcome,) = inject_text(text, MESH)
        assert (again, outcome.reason) == (text, reason)
    assert uninject_text(refusing)[0] == refusing


def test_json_stays_json() -> None:
    made, _ = inject_text(json.dumps(workload("Pod")), MESH)
    back, _ = uninject_text(made)

    assert names(json.loads(made)) == ["tulle-redirect", "tulle-proxy"]
    assert json.loads(back) == workload("Pod")


SCALARS = """\
plain: text
quoted: "1e3"
single: 'yes'
bare: yes
float: 1e3
hex: 0x1F
octal: 0777
clock: 12:30
date: 2020-01-01
big: 12345678901234567890
none: ~
nothing:
bool: true
number: 42
on: [1, 2.50]
folded: >
  two lines
literal: |
  two
  lines
"""


def test_scalars_come_out_as_they_were_spelled() -> None:
    (part,) = parse(SCALARS)

    made = dump(part.value)

    kept = SCALARS.replace("none: ~", "none: null").replace("nothing:\n", "nothing: null\n")
    assert made == kept.replace("on: [1, 2.50]", "on:\n- 1\n- 2.50")


def test_aliases_and_merges_are_written_out_where_something_changes() -> None:
    pod = (
        "x: &spec {containers: [{name: a, image: b}]}\n"
        "apiVersion: v1\nkind: Pod\nmetadata: {<<: {name: web}, labels: {a: b}}\nspec: *spec\n"
    )

    made, _ = inject_text(pod, MESH)

    document = yaml.safe_load(made)
    assert document["x"] == {"containers": [{"name": "a", "image": "b"}]}
    assert document["metadata"]["name"] == "web"
    assert names(document) == ["tulle-redirect", "tulle-proxy"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: ]", "line 1: "),
        ("kind: Pod\nkind: Pod\n", "line 2: 'kind' is there twice"),
        ("- a\n", "expected objects of Kubernetes"),
        ("? [a]\n: b\n", "expected a text as key"),
        ("a: &a [*a]\n", "expected a document of reasonable size"),
        ("a: b\n---\nc: \x07\n", "#x0007"),
    ],
)
def test_what_is_no_manifest_is_told_with_its_line(text: str, told: str) -> None:
    with pytest.raises(InvalidManifest, match=told.replace("[", "\\[")):
        inject_text(text, MESH)


def test_a_few_bytes_cannot_mean_gigabytes() -> None:
    lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 9)]

    with pytest.raises(InvalidManifest, match="reasonable size"):
        inject_text("\n".join(lines), MESH)
