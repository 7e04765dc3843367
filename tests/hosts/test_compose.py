"""docker-compose.yml does what it says, run by a small engine of the tests instead of by Docker."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.engine import Engine, networks
from tests.support.hosts import hosts

# Some thirty containers come up one after the other.
pytestmark = pytest.mark.timeout(400)
EDGES = {("traffic", "web"), ("web", "books"), ("books", "authors")}
SECONDS = 60.0


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with hosts(*networks(), users=True) as namespaces:
        made = Engine(namespaces)
        made.up()
        yield made


def edges(engine: Engine) -> list[dict[str, Any]]:
    answer = json.loads(engine.run("tulle", "edges", "--namespace", "shop", "--output", "json"))
    rows: list[dict[str, Any]] = answer["rows"]
    return rows


def test_docker_compose_brings_up_a_mesh_that_carries_the_application(engine: Engine) -> None:
    until = time.monotonic() + SECONDS
    rows = edges(engine)
    while not {(row["source"], row["target"]) for row in rows} >= EDGES:
        assert time.monotonic() < until, rows
        time.sleep(0.5)
        rows = edges(engine)

    for row in rows:
        if (row["source"], row["target"]) in EDGES:
            assert row["mtls"], row
            assert row["figures"]["requests"] > 0, row


def test_a_proxy_that_dies_comes_back_with_the_rules_still_there(engine: Engine) -> None:
    engine.kill("books-1-proxy")
    engine.start("books-1-proxy")
    until = time.monotonic() + SECONDS
    while not engine.is_healthy("books-1-proxy"):
        assert time.monotonic() < until, engine.log("books-1-proxy")
        time.sleep(0.1)


def test_another_trust_anchor_takes_the_place_of_the_one_there_is(engine: Engine) -> None:
    answer = engine.run("tulle", "trust", "rotate", "--timeout", "30s", "--output", "json")

    rotation = json.loads(answer)
    assert (rotation["phase"], rotation["completed"], rotation["trouble"]) == ("steady", 1, "")
    assert json.loads(engine.run("tulle", "trust", "status", "--output", "json")) == rotation


def test_other_keys_reach_every_service_where_it_reads_its_own(engine: Engine) -> None:
    answer = engine.run("tulle", "bus", "rotate", "--timeout", "60s", "--output", "json")

    rotation = json.loads(answer)
    assert (rotation["phase"], rotation["completed"], rotation["waiting"]) == ("steady", 1, [])
    # The operator's own is one of them.
    assert json.loads(engine.run("tulle", "bus", "keys", "--output", "json")) == rotation
    assert edges(engine)
