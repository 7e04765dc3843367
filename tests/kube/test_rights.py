"""What each account of k8s/ may do in a cluster: just what this table says, as the API server sees it."""

import json
from collections.abc import Iterator
from itertools import product
from typing import Any

import anyio
import pytest

from common.kube.client import Client
from tests.support.cluster import Cluster

pytestmark = pytest.mark.anyio
Right = tuple[str, str, str]
"""A verb, a resource with its group (`endpointslices.discovery.k8s.io`), and a name; `` for any."""

DERIVED = " ".join(
    f"secrets/{name}"
    for name in (
        "tulle-nats",
        "tulle-bus-destination",
        "tulle-bus-injector",
        "tulle-bus-telemetry",
        "tulle-bus-operator",
    )
)
WEBHOOKS = "mutatingwebhookconfigurations.admissionregistration.k8s.io"
# Verbs, then what they may be done to.
EVERYWHERE = {
    "tulle-bootstrap": {},
    "tulle-nats": {},
    "tulle-identity": {"create": "tokenreviews.authentication.k8s.io", "get": "pods"},
    "tulle-destination": {
        "list watch": "namespaces nodes pods services endpointslices.discovery.k8s.io"
        " meshsettings.tulle.dev",
    },
    "tulle-injector": {
        "get list watch": "namespaces",
        "create": "events",
        "get patch": f"{WEBHOOKS}/tulle-injector",
    },
    "tulle-telemetry": {},
}
IN_TULLE = {
    "tulle-bootstrap": {
        "create": "secrets configmaps",
        "get": f"secrets/tulle-mesh secrets/tulle-issuer {DERIVED} configmaps/tulle-trust",
    },
    "tulle-identity": {
        "get list watch patch": "secrets/tulle-mesh",
        "get list watch": "secrets/tulle-issuer",
        "get patch": f"{DERIVED} configmaps/tulle-trust",
    },
    "tulle-injector": {"get patch": "secrets/tulle-injector-tls"},
}
ACCOUNTS = pytest.mark.parametrize("account", EVERYWHERE)

VERBS = ("get", "list", "watch", "create", "patch", "delete")
# What a thief of an account would like to do something to.
RESOURCES = (
    *("secrets", "configmaps", "pods", "pods/exec", "pods/log", "nodes", "namespaces", "services"),
    *("events", "serviceaccounts", "serviceaccounts/token", "persistentvolumes"),
    *("deployments.apps", "statefulsets.apps", "daemonsets.apps", "jobs.batch"),
    *(f"{kind}.rbac.authorization.k8s.io" for kind in ("roles", "rolebindings", "clusterroles")),
    "clusterrolebindings.rbac.authorization.k8s.io",
    *(WEBHOOKS, "validatingwebhookconfigurations.admissionregistration.k8s.io"),
    "customresourcedefinitions.apiextensions.k8s.io",
    *("tokenreviews.authentication.k8s.io", "subjectaccessreviews.authorization.k8s.io"),
    "certificatesigningrequests.certificates.k8s.io",
    *("leases.coordination.k8s.io", "endpointslices.discovery.k8s.io", "meshsettings.tulle.dev"),
)
NAMES = ("tulle-mesh", "another")


def spelled(table: dict[str, str]) -> set[Right]:
    """The rights of one account."""
    return {
        (verb, resource, name)
        for verbs, things in table.items()
        for verb, thing in product(verbs.split(), things.split())
        for resource, _, name in [thing.partition("/")]
    }


def expected(account: str, namespace: str) -> set[Right]:
    more = IN_TULLE.get(account, {}) if namespace == "tulle" else {}
    return spelled(EVERYWHERE[account]) | spelled(more)


def granted(rules: list[dict[str, Any]]) -> Iterator[Right]:
    """The rights in the answer to a SelfSubjectRulesReview."""
    for rule in rules:
        names = rule.get("resourceNames") or [""]
        for verb, group, resource, name in product(
            rule["verbs"], rule["apiGroups"], rule["resources"], names
        ):
            yield verb, f"{resource}.{group}" if group else resource, name


def person(cluster: Cluster, account: str, namespace: str = "tulle") -> Client:
    """Asks as that account, with a token that the API server made for it."""
    return cluster.client(cluster.kubectl("create", "token", account, "-n", namespace).strip())


async def rights(client: Client, namespace: str) -> set[Right]:
    """All that one may do in a namespace."""
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    status = json.loads(await client.ask("POST", path, body=body))["status"]
    assert not status["incomplete"]
    return set(granted(status["resourceRules"]))


async def may(client: Client, namespace: str, right: Right) -> bool:
    """Whether one may do that."""
    verb, resource, name = right
    kind, _, group = resource.partition(".")
    kind, _, sub = kind.partition("/")
    attributes = {"namespace": namespace, "verb": verb, "group": group, "resource": kind}
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes | {"subresource": sub, "name": name}},
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    answer = json.loads(await client.ask("POST", path, body=body))
    return bool(answer["status"]["allowed"])


@ACCOUNTS
async def test_an_account_has_the_rights_of_this_table_and_those_that_everybody_has(
    cluster: Cluster, installed: dict[str, str], account: str
) -> None:
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "nobody", "namespace": "default"},
        }
    )
    async with person(cluster, account) as client, person(cluster, "nobody", "default") as nobody:
        for namespace in ("tulle", "default"):
            common = await rights(nobody, namespace)

            assert await rights(client, namespace) - common == expected(account, namespace)


@ACCOUNTS
async def test_whoever_steals_an_account_gets_no_further(
    cluster: Cluster, installed: dict[str, str], account: str
) -> None:
    named = product(VERBS, ("secrets", "configmaps"), NAMES)
    asked = [*product(VERBS, RESOURCES, ("",)), *named]
    allowed: set[Right] = set()

    async def ask(client: Client, rights: list[Right]) -> None:
        for right in rights:
            if await may(client, "tulle", right):
                allowed.add(right)

    async with person(cluster, account) as client, anyio.create_task_group() as group:
        for start in range(4):
            group.start_soon(ask, client, asked[start::4])

    table = expected(account, "tulle")
    assert allowed == {
        (verb, resource, name)
        for verb, resource, name in asked
        if {(verb, resource, name), (verb, resource, "")} & table
    }
