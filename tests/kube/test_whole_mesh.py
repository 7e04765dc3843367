"""docs/getting-started.md, tried literally: what is applied becomes a mesh, on a cluster that runs it."""

import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.roots import ROOT
from tests.support.whole_cluster import WholeCluster, whole_cluster

# Some thirty processes start, twice over for the application, on however little machine there is.
pytestmark = pytest.mark.timeout(400)
GUIDE = ROOT / "docs" / "getting-started.md"
EDGES = {("traffic", "web"), ("web", "books"), ("books", "authors")}
SHOP = {"traffic", "web", "books", "authors"}


def commands() -> list[str]:
    """The five commands of the guide."""
    _, _, text = GUIDE.read_text().partition("## The five commands")
    (block,) = re.findall(r"```sh\n(.*?)```", text, re.S)
    return [str(line) for line in block.splitlines()]


def rolled_out(whole: WholeCluster) -> None:
    for app in sorted(SHOP):
        whole.kubectl("rollout", "status", f"deployment/{app}", "-n", "shop", "--timeout=60s")


@pytest.fixture(scope="module")
def said() -> dict[str, str]:
    """What each command of the guide printed."""
    return {}


@pytest.fixture(scope="module")
def whole(said: dict[str, str]) -> Iterator[WholeCluster]:
    """A cluster on which the guide was followed."""
    with whole_cluster() as running:
        for command in commands():
            said[command] = running.shell(command)
        rolled_out(running)
        yield running


@pytest.fixture(scope="module")
def rotating(whole: WholeCluster) -> "subprocess.Popen[str]":
    """A rotation of the trust anchor, under way while the other tests look at the mesh."""
    return whole.begin("tulle trust rotate --timeout 180s -o json")


def asked(whole: WholeCluster, command: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(whole.shell(f"{command} -n shop -o json"))["rows"]
    return rows


def pods(whole: WholeCluster, app: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = whole.get("pods", "-n", "shop", "-l", f"app={app}")["items"]
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def names(whole: WholeCluster, namespace: str) -> list[str]:
    found: list[dict[str, Any]] = whole.get("pods", "-n", namespace)["items"]
    return [pod["metadata"]["name"] for pod in found if "deletionTimestamp" not in pod["metadata"]]


def sent(whole: WholeCluster, app: str) -> Counter[str]:
    """How many requests of a program got which status, as it counted itself so far."""
    (pod,) = pods(whole, app)
    log = whole.kubectl("logs", "-n", "shop", pod["metadata"]["name"], "-c", app)
    if not log:
        return Counter()
    (tally,) = json.loads(log.splitlines()[-1])["sent"].values()
    return Counter(tally["statuses"])


def test_the_guide_has_five_commands_that_lead_to_figures(
    whole: WholeCluster, said: dict[str, str]
) -> None:
    *_, last = said
    assert len(said) == 5
    assert last.startswith("tulle stat ")

    def table() -> dict[str, list[str]]:
        lines = [line.split() for line in whole.shell(last).splitlines()]
        return {name: columns for name, *columns in lines}

    whole.until(lambda: table().keys() >= SHOP, "figures of the whole shop")


def test_every_pod_has_its_proxy_from_the_injector_that_the_api_server_asked(
    whole: WholeCluster, rotating: "subprocess.Popen[str]"
) -> None:
    for app in SHOP:
        for pod in pods(whole, app):
            names = [one["name"] for one in pod["spec"]["initContainers"]]
            assert names == ["tulle-redirect", "tulle-proxy"]
            assert pod["metadata"]["labels"]["tulle.dev/meshed"] == "true"


def test_every_edge_of_the_application_is_secured(
    whole: WholeCluster, rotating: "subprocess.Popen[str]"
) -> None:
    def secured() -> bool:
        # What was asked before there were proxies on both ends is an edge of its own.
        rows = [row for row in asked(whole, "tulle edges") if row["mtls"]]
        return {(r["source"], r["target"]) for r in rows if r["figures"]["requests"]} >= EDGES

    whole.until(secured, "edges are secured")


def test_pods_are_replaced_without_a_request_that_fails_while_the_anchor_is(
    whole: WholeCluster, rotating: "subprocess.Popen[str]"
) -> None:
    before = sent(whole, "books")
    old = pods(whole, "authors")[0]["metadata"]["name"]

    whole.kubectl("delete", "pod", old, "-n", "shop")
    # What identity has done so far lies in its Secret: its successor goes on.
    whole.kubectl("delete", "pod", "-n", "tulle", "-l", "app.kubernetes.io/component=identity")
    whole.kubectl("rollout", "status", "deployment/authors", "-n", "shop", "--timeout=60s")
    told, _ = rotating.communicate(timeout=190)

    outcome = json.loads(told)
    assert (outcome["phase"], outcome["completed"], outcome["trouble"]) == ("steady", 1, "")
    enough = before["200"] + 100
    whole.until(lambda: sent(whole, "books")["200"] > enough, "books goes on asking")
    # 500 is what authors answers for a name that it does not know.
    assert set(sent(whole, "books")) == {"200", "500"}
    # From the first request on, when web had no proxy yet.
    assert set(sent(whole, "traffic")) == {"200"}


def test_applied_again_nothing_changes(
    whole: WholeCluster, rotating: "subprocess.Popen[str]"
) -> None:
    again = whole.shell("kubectl apply -f k8s/")

    # kubectl sends the selector of a PodDisruptionBudget anew each time, and says `configured`.
    others = [line for line in again.splitlines() if not line.startswith("poddisruptionbudget")]
    assert [line for line in others if not line.endswith(" unchanged")] == []


def test_no_part_lacked_a_right_or_fell(
    whole: WholeCluster, rotating: "subprocess.Popen[str]"
) -> None:
    rotating.wait(190)
    everybody = [(where, pod) for where in ("tulle", "shop") for pod in names(whole, where)]

    for where, pod in everybody:
        log = whole.kubectl("logs", pod, "-n", where, "--all-containers")
        assert not re.search("[Ff]orbidden|[Uu]nauthorized|Traceback", log), f"{pod}:\n{log}"
        found = whole.get("pod", pod, "-n", where)["status"]
        states = found.get("initContainerStatuses", []) + found["containerStatuses"]
        assert {one["name"] for one in states if one["restartCount"]} == set(), pod


def test_all_is_well_by_tulle_check(whole: WholeCluster, rotating: "subprocess.Popen[str]") -> None:
    rotating.wait(190)

    assert whole.shell("tulle check --wait 30s -o short") == ""
    assert whole.shell("tulle check --proxy --wait 30s -o short") == ""
