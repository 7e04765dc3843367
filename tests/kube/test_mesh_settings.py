"""MeshSettings in a cluster: the CRD refuses what destination would not understand, and says why."""

import json
import re
import subprocess
from functools import partial
from typing import Any

import anyio
import pytest

from common.contract import subjects
from common.contract.discovery import Settings
from services.destination.app import Destination
from services.destination.fields import spell
from services.destination.kinds import SETTINGS, read
from services.destination.sources.kubernetes import Kubernetes
from tests.support.cluster import Cluster
from tests.support.nats import mesh, until

pytestmark = pytest.mark.anyio

Json = dict[str, Any]
GOOD: list[Json] = [
    {},
    {"clusterNetworks": ["10.0.0.0/8", "fd00::/8", "0.0.0.0/0"]},
    {"clusterNetworks": []},
    {"opaquePorts": [25, 65535, 1]},
    {"reportSeconds": 0.1},
    {"reportSeconds": 300, "logLevel": "warning"},
]
# What is wrong, where, and a part of what the API server says of it.
BAD: list[tuple[Json, str, str]] = [
    ({"clusterNetworks": ["10.0.0.1/8"]}, "clusterNetworks[0]", "such as 10.0.0.0/8, with nothing"),
    ({"clusterNetworks": ["10.0.0.0/8", "all"]}, "clusterNetworks[1]", "expected a CIDR block"),
    ({"clusterNetworks": ["10.0.0.0"]}, "clusterNetworks[0]", "expected a CIDR block"),
    ({"clusterNetworks": ["10.0.0.0/33"]}, "clusterNetworks[0]", "expected a CIDR block"),
    ({"clusterNetworks": "10.0.0.0/8"}, "clusterNetworks", "must be of type array"),
    ({"opaquePorts": [0]}, "opaquePorts[0]", "greater than or equal to 1"),
    ({"opaquePorts": [25, 65536]}, "opaquePorts[1]", "less than or equal to 65535"),
    ({"opaquePorts": ["25"]}, "opaquePorts[0]", "must be of type integer"),
    ({"reportSeconds": 0.05}, "reportSeconds", "greater than or equal to 0.1"),
    ({"reportSeconds": 301}, "reportSeconds", "less than or equal to 300"),
    ({"reportSeconds": "10"}, "reportSeconds", "must be of type number"),
    ({"logLevel": "loud"}, "logLevel", 'supported values: "debug", "info", "warning", "error"'),
    ({"clusterNetwork": []}, "clusterNetwork", "unknown field"),
]


def settings(spec: Json, name: str = "mesh") -> Json:
    meta = {"name": name}
    return {
        "apiVersion": "tulle.dev/v1alpha1",
        "kind": "MeshSettings",
        "metadata": meta,
        "spec": spec,
    }


def refused(cluster: Cluster, document: Json) -> str:
    """Why the API server does not take it; empty if it does."""
    words = ("create", "--dry-run=server", "-f", "-")
    try:
        cluster.kubectl(*words, stdin=json.dumps(document))
    except subprocess.CalledProcessError as error:
        return str(error.stderr)
    return ""


@pytest.mark.parametrize("spec", GOOD, ids=str)
def test_what_the_api_server_takes_destination_understands(
    cluster: Cluster, installed: dict[str, str], spec: Json
) -> None:
    assert refused(cluster, settings(spec)) == ""
    assert read(settings(spec)).mistakes == {}


@pytest.mark.parametrize(("spec", "where", "why"), BAD, ids=str)
def test_what_destination_does_not_understand_the_api_server_refuses_and_says_why(
    cluster: Cluster, installed: dict[str, str], spec: Json, where: str, why: str
) -> None:
    said = refused(cluster, settings(spec))

    assert f"spec.{where}" in said
    assert why in said
    assert [spell(path) for path in read(settings(spec)).mistakes] == [f"spec.{where}"]


def test_there_is_one_and_it_is_called_mesh(cluster: Cluster, installed: dict[str, str]) -> None:
    other = settings({}, "other")

    assert "expected the name mesh" in refused(cluster, other)
    assert [spell(path) for path in read(other).mistakes] == ["metadata.name"]


def test_the_schema_has_the_fields_that_destination_reads_each_with_a_description(
    cluster: Cluster, installed: dict[str, str]
) -> None:
    told = cluster.kubectl("explain", "meshsettings.spec")

    assert set(re.findall(r"^  ([a-z]\w+)\t", told, re.M)) == set(SETTINGS)
    assert "<no description>" not in told


async def test_settings_that_people_apply_hold_at_once_and_the_account_has_the_rights_for_it(
    cluster: Cluster, installed: dict[str, str]
) -> None:
    token = cluster.kubectl("create", "token", "tulle-destination", "-n", "tulle").strip()
    told: list[Settings | None] = []
    async with mesh() as (_, bus), anyio.create_task_group() as group:
        source = partial(Kubernetes, cluster.client(token))
        destination = Destination(bus, source, replica="one", lease_seconds=2)
        group.start_soon(destination.run)
        bus.follow(subjects.settings(), lambda document, _: told.append(document))
        await until(lambda: told and told[-1] == Settings(), 30)
        assert destination.source.standing.value.silent == frozenset(), "nothing is forbidden"

        cluster.apply(settings({"reportSeconds": 2.5, "opaquePorts": [25]}))
        await until(lambda: told[-1] == Settings(report_seconds=2.5, opaque_ports=(25,)), 20)
        assert "2.5" in cluster.kubectl("get", "meshsettings")
        cluster.kubectl("delete", "meshsettings", "mesh")
        await until(lambda: told[-1] == Settings(), 20)
        group.cancel_scope.cancel()
