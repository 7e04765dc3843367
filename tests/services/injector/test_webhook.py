"""The webhook: what Kubernetes asks, and what it is answered, over HTTP as it is."""

import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from common.errors import KubernetesUnavailable
from services.injector import review
from services.injector.exposition import exposition
from services.injector.journal import Labels, Told
from services.injector.patch import Operation
from services.injector.webhook import Webhook
from tests.support.pods import MESH, a_pod, container, patched

pytestmark = pytest.mark.anyio

NAMESPACES: Mapping[str, Mapping[str, str]] = {"shop": {"tulle.dev/inject": "enabled"}}


def question(pod: object, namespace: str = "shop", **more: object) -> dict[str, Any]:
    kind = {"group": "", "version": "v1", "kind": "Pod"}
    request = {"uid": "u-1", "kind": kind, "namespace": namespace, "operation": "CREATE"}
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {**request, "object": pod, **more},
    }


async def namespace(name: str) -> Mapping[str, str]:
    if name not in NAMESPACES:
        raise KubernetesUnavailable("no answer")
    return NAMESPACES[name]


class Asked:
    """A webhook, and what it noted."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.heard = 0
        self.webhook = Webhook(
            "127.0.0.1:0",
            None,
            mesh=lambda: MESH,
            namespace=namespace,
            heard=self.hear,
            note=self.told.append,
        )

    def hear(self) -> None:
        self.heard += 1

    async def post(self, body: object) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.webhook.port}/"
        async with aiohttp.ClientSession() as session, session.post(url, data=data) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if answer.status == 200 else text


@asynccontextmanager
async def asked() -> AsyncIterator[Asked]:
    made = Asked()
    async with made.webhook:
        yield made


async def test_a_pod_is_answered_with_its_patch_and_warnings() -> None:
    pod = a_pod({"config.tulle.dev/admin-port": "x"})
    async with asked() as hook:
        status, answer = await hook.post(question(pod))

    response = answer["response"]
    assert (status, response["uid"], response["allowed"]) == (200, "u-1", True)
    assert response["warnings"] == [
        "tulle: config.tulle.dev/admin-port: 'x': expected a port from 1 to 65535"
    ]
    steps = [Operation(**step) for step in json.loads(base64.b64decode(response["patch"]))]
    assert container(patched(pod, tuple(steps)), "tulle-proxy")["restartPolicy"] == "Always"
    assert [(told.namespace, told.pod, told.dry_run) for told in hook.told] == [
        ("shop", "web-1", False)
    ]


async def test_a_pod_that_is_not_injected_is_allowed_as_it_is() -> None:
    async with asked() as hook:
        _, answer = await hook.post(question(a_pod({"tulle.dev/inject": "disabled"}), dryRun=True))

    assert answer["response"] == {"uid": "u-1", "allowed": True}
    assert hook.told[0].dry_run


@pytest.mark.parametrize(
    "more",
    [
        {"kind": {"group": "", "version": "v1", "kind": "Service"}},
        {"operation": "UPDATE"},
        {"object": None},
    ],
)
async def test_what_is_no_creation_of_a_pod_is_none_of_its_business(more: dict[str, Any]) -> None:
    async with asked() as hook:
        _, answer = await hook.post(question(a_pod(), **more))

    assert answer["response"] == {"uid": "u-1", "allowed": True}
    assert hook.told == []


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "expected an AdmissionReview"),
        (b"{}", "expected an AdmissionReview"),
        (question(a_pod()) | {"apiVersion": "admission.k8s.io/v1beta1"}, "expected admission.k8s"),
    ],
)
async def test_what_is_no_question_is_told_so(body: object, told: str) -> None:
    async with asked() as hook:
        status, answer = await hook.post(body)

    assert status == 400
    assert told in answer
    assert hook.heard == 1


async def test_a_namespace_that_cannot_be_asked_for_leaves_the_pod_to_the_failure_policy() -> None:
    async with asked() as hook:
        status, _ = await hook.post(question(a_pod(), "elsewhere"))

    assert (status, hook.told) == (503, [])


def test_many_long_warnings_are_cut_to_what_the_api_server_passes_on() -> None:
    answer = json.loads(review.answer("u", warnings=["x" * 1000] * 100))

    warnings = answer["response"]["warnings"]
    assert (len(warnings), {len(text) for text in warnings}) == (15, {250})


def test_the_controller_among_the_owners_is_the_owner() -> None:
    pod = a_pod()
    reference = {"apiVersion": "v1", "kind": "A", "name": "a", "uid": "1"}
    pod["metadata"]["ownerReferences"] = [reference, reference | {"kind": "B", "controller": True}]

    found = review.owner(pod, "shop")

    assert found is not None
    assert (found.kind, found.namespace) == ("B", "shop")
    assert review.owner(a_pod(), "shop") is None


class Counted:
    requests = 3
    left_out = 0

    @property
    def responses(self) -> dict[Labels, int]:
        return {("replicaset", "shop", "namespace", "false", ""): 2}


def test_figures_have_the_names_that_dashboards_know() -> None:
    text = exposition(Counted()).decode()

    assert "proxy_inject_admission_requests_total 3.0" in text
    place = 'annotation_at="namespace",namespace="shop"'
    labels = f'{place},owner_kind="replicaset",skip="false",skip_reason=""'
    assert f"proxy_inject_admission_responses_total{{{labels}}} 2.0" in text
