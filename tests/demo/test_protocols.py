"""`tulle demo --protocols`: gRPC and plain TCP beside HTTP, in the mesh and in the programs' own figures."""

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from cli.demo import demo as command
from demo.plan import BUILT_IN, PROTOCOLS, read
from tests.support.demos import ACCOUNT, MODES, demo, finish, flags_for, own_figures

EDGES = {
    ("traffic", "web"): "http/1.1",
    ("web", "books"): "http/1.1",
    ("web", "ratings"): "grpc",
    ("books", "authors"): "http/1.1",
    ("books", "cache"): "tcp",
}


def edges_of(printed: str) -> dict[tuple[str, str], dict[str, Any]]:
    return {(edge["source"], edge["target"]): edge for edge in json.loads(printed)["edges"]}


@pytest.mark.parametrize("mode", MODES)
def test_every_protocol_is_carried_as_the_programs_counted(tmp_path: Path, mode: str) -> None:
    logs, temporary = tmp_path / "logs", tmp_path / "tmp"
    temporary.mkdir()
    flags = ["--protocols", "--seconds", "6", "--json", "--logs", str(logs), *flags_for(mode)]
    with demo(temporary, *flags) as running:
        out, said = finish(running)

    assert running.returncode == 0, said
    edges = edges_of(out)
    tunnelled = {("web", "ratings"): "tcp"} if mode == "explicit" else {}
    assert {pair: edge["protocol"] for pair, edge in edges.items()} == EDGES | tunnelled
    assert ("it is shown as tcp" in said) is (mode == "explicit")
    for (source, target), edge in edges.items():
        assert edge["mtls"] is True
        assert edge["source_identity"] == ACCOUNT + source
        assert edge["target_identity"] == ACCOUNT + target
        if (source, target) not in tunnelled:
            own = own_figures(logs, source, target)
            sent = sum(figures["requests"] for figures in own)
            failed = sum(figures["failures"] for figures in own)
            assert edge["requests"] == sent > 5
            assert edge["success_rate"] == pytest.approx(1 - failed / sent, abs=1e-4)
            assert 0 < edge["p50_ms"] <= edge["p95_ms"] <= edge["p99_ms"]
    if mode == "explicit":
        # All calls go over the one connection of gRPC's channel, which is open to the end.
        assert edges["web", "ratings"]["requests"] == 1
    else:
        assert 0.9 < edges["web", "ratings"]["success_rate"] < 1
    assert edges["books", "cache"]["success_rate"] == 1
    assert list(temporary.iterdir()) == []


def test_it_is_the_built_in_application_and_two_programs_more() -> None:
    plain = {workload.name: workload for workload in read(BUILT_IN).workloads}
    more = {workload.name: workload for workload in read(PROTOCOLS).workloads}

    assert list(more) == [*plain, "ratings", "cache"]
    for name, workload in plain.items():
        grown = more[name]
        assert workload.env.items() <= grown.env.items()
        assert set(workload.calls) <= set(grown.calls)
        same = msgspec.structs.replace(grown, env=workload.env, calls=workload.calls)
        assert same == workload


def test_without_grpcio_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)

    done = CliRunner().invoke(command, ["--protocols"])

    assert done.exit_code == 2
    assert f"{sys.executable} -m pip install grpcio" in " ".join(done.stderr.split())


def test_ones_own_application_cannot_have_them_added() -> None:
    done = CliRunner().invoke(command, ["--protocols", "--file", "own.yaml"])

    assert done.exit_code == 2
    assert "--protocols" in done.stderr
