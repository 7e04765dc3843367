"""`tulle demo` as people run it: a whole mesh, real traffic, and nothing left behind.

What the mesh says is compared with what the application's programs counted themselves.
"""

import json
import os
import shlex
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from common.contract.telemetry import BUCKETS_MS
from tests.support.demos import (
    ACCOUNT,
    COMMAND,
    MODES,
    SECONDS,
    demo,
    finish,
    flags_for,
    own_figures,
)
from tests.support.hosts import require


def wait_until_up(running: "subprocess.Popen[str]") -> str:
    """Everything on standard error until the heading is complete."""
    assert running.stderr is not None
    said = ""
    for line in running.stderr:
        said += line
        if line.lstrip().startswith("listen"):
            return said
    raise AssertionError(said)


def descendants(pid: int) -> set[int]:
    found: set[int] = set()
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            found |= {child} | descendants(child)
    return found


def command(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def nothing_left(pids: set[int], tmp_path: Path) -> None:
    """Fails unless soon there is neither one of these processes nor a file."""
    deadline = time.monotonic() + 15
    while True:
        alive = [pid for pid in pids if Path(f"/proc/{pid}").exists()]
        files = list(tmp_path.iterdir())
        if not alive and not files:
            return
        assert time.monotonic() < deadline, (alive, files)
        time.sleep(0.05)


def wait_for_traffic(metrics_url: str) -> None:
    """Wait until telemetry's metrics tell of requests from books to authors."""
    deadline = time.monotonic() + SECONDS
    while True:
        with urllib.request.urlopen(metrics_url, timeout=10) as answer:
            text = answer.read().decode()
        if any("books" in line and "authors" in line for line in text.splitlines()):
            return
        assert time.monotonic() < deadline, text
        time.sleep(0.1)


def bucket(milliseconds: float) -> float:
    """The upper end of the bucket of the mesh's histograms into which a latency falls."""
    return next(bound for bound in BUCKETS_MS if bound >= milliseconds)


@pytest.mark.parametrize("mode", MODES)
def test_what_the_mesh_says_is_what_the_application_counted(tmp_path: Path, mode: str) -> None:
    logs, temporary = tmp_path / "logs", tmp_path / "tmp"
    temporary.mkdir()
    with demo(
        temporary, "--seconds", "5", "--json", "--logs", str(logs), *flags_for(mode)
    ) as running:
        out, said = finish(running)

    assert running.returncode == 0, said
    document = json.loads(out)
    assert document["ok"] is True
    assert document["transparent"] is (mode == "transparent")
    edges = {(edge["source"], edge["target"]): edge for edge in document["edges"]}
    assert set(edges) == {("traffic", "web"), ("web", "books"), ("books", "authors")}
    for (source, target), edge in edges.items():
        assert edge["mtls"] is True
        assert edge["source_identity"] == ACCOUNT + source
        assert edge["target_identity"] == ACCOUNT + target
        assert edge["protocol"] == "http/1.1"

        own = own_figures(logs, source, target)
        sent = sum(figures["requests"] for figures in own)
        failed = sum(figures["failures"] for figures in own)
        assert edge["requests"] == sent > 50
        assert edge["success_rate"] == pytest.approx(1 - failed / sent, abs=1e-4)
        # What a program measures holds what its proxy measures, and the program's own work.
        assert 0 < edge["p50_ms"] <= edge["p95_ms"] <= edge["p99_ms"]
        assert edge["p50_ms"] <= bucket(max(figures["p50_ms"] for figures in own))
        assert edge["p50_ms"] >= min(figures["p50_ms"] for figures in own) / 10
        assert edge["p99_ms"] <= bucket(max(figures["p100_ms"] for figures in own))
    assert edges["books", "authors"]["success_rate"] < 1
    assert edges["web", "books"]["success_rate"] < 1
    assert edges["traffic", "web"]["success_rate"] == 1
    assert list(temporary.iterdir()) == []


def test_a_rotation_in_the_middle_is_noticed_by_nobody(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    flags = ("--rotate", "--seconds", "4", "--json", "--explicit", "--logs", str(logs))
    with demo(tmp_path, *flags) as running:
        out, said = finish(running)

    assert running.returncode == 0, said
    # Seven proxies, identity, destination and telemetry.
    assert json.loads(out)["rotation"] == {
        "completed": True,
        "acknowledged": 10,
        "failed_requests": 0,
    }
    assert sum(figures["failures"] for figures in own_figures(logs, "traffic", "web")) == 0


@pytest.mark.parametrize("mode", MODES)
def test_people_reach_the_bus_and_the_metrics_until_ctrl_c_ends_it(
    tmp_path: Path, mode: str
) -> None:
    with demo(tmp_path, *flags_for(mode)) as running:
        assert running.stdout is not None
        lines = [next(running.stdout) for _ in range(4)]
        heading = dict(line.strip().split("  ", 1) for line in lines)
        pids = descendants(running.pid)
        assert len(pids) > 15

        with subprocess.Popen(
            shlex.split(heading["listen"]), stdout=subprocess.PIPE, text=True
        ) as listening:
            assert listening.stdout is not None
            heard = next(line for line in listening.stdout if "tulle.v1.metrics.shop.books" in line)
            listening.terminate()
            listening.communicate()
        wait_for_traffic(heading["metrics"])

        running.send_signal(signal.SIGINT)
        out, said = finish(running)

    assert heading["NATS"].startswith("tls://127.")
    assert heard
    assert "books → authors" in out, said
    assert f"{ACCOUNT}books" in out
    assert running.returncode == 0, said
    nothing_left(pids, tmp_path)


@pytest.mark.parametrize("mode", MODES)
def test_nothing_survives_a_killed_launcher(tmp_path: Path, mode: str) -> None:
    with demo(tmp_path, "--seconds", "60", "--json", *flags_for(mode)) as running:
        wait_until_up(running)
        pids = descendants(running.pid)
        assert len(pids) > 15

        running.kill()
        finish(running)

    nothing_left(pids, tmp_path)


@pytest.mark.parametrize("mode", MODES)
def test_a_killed_inner_side_is_noticed_and_cleaned_up_after(tmp_path: Path, mode: str) -> None:
    with demo(tmp_path, "--seconds", "60", "--json", *flags_for(mode)) as running:
        wait_until_up(running)
        pids = descendants(running.pid)
        (inner,) = (
            pid for pid in pids if command(pid)[:1] != ["unshare"] and "demo.inner" in command(pid)
        )

        os.kill(inner, signal.SIGKILL)
        out, said = finish(running)

    assert (running.returncode, out) == (1, "")
    assert "the process under which all others run has ended" in said
    nothing_left(pids, tmp_path)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_launcher_that_is_ended_while_it_starts_leaves_nothing(
    tmp_path: Path, how: signal.Signals
) -> None:
    with demo(tmp_path, "--explicit") as running:
        assert running.stderr is not None
        assert running.stderr.readline().startswith("starting nats-server")
        pids = descendants(running.pid)

        running.send_signal(how)
        out, _ = finish(running)

    assert out == ""
    assert running.returncode == (-how if how == signal.SIGKILL else 128 + how)
    nothing_left(pids, tmp_path)


def test_ones_own_application_may_leave_programs_outside_the_mesh(tmp_path: Path) -> None:
    require()
    serve = '["{python}", "-m", "http.server", "--bind", "{address}", "{port}"]'
    ask = "while curl -sS -o /dev/null {url}; do sleep 0.1; done; sleep 1000"
    application = tmp_path / "own.yaml"
    application.write_text(
        f"""
namespace: mine
workloads:
  - {{name: files, command: {serve}, ports: [8080]}}
  - {{name: plain, command: {serve}, ports: [8080], meshed: false}}
  - name: asks-meshed
    command: [sh, -c, "{ask.format(url="http://files:8080/")}"]
    calls: [files]
  - name: asks-plain
    command: [sh, -c, "{ask.format(url="http://plain.mine:8080/")}"]
    calls: [plain]
"""
    )
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with demo(temporary, "--file", str(application), "--seconds", "4", "--json") as running:
        out, said = finish(running)

    assert running.returncode == 0, said
    edges = {(edge["source"], edge["target"]): edge for edge in json.loads(out)["edges"]}
    assert edges["asks-meshed", "files"]["mtls"] is True
    assert edges["asks-plain", "plain"]["mtls"] is False
    assert edges["asks-plain", "plain"]["success_rate"] == 1


@pytest.mark.parametrize("mode", MODES)
def test_a_program_that_does_not_start_is_explained(tmp_path: Path, mode: str) -> None:
    application = tmp_path / "own.yaml"
    application.write_text(
        'workloads: [{name: web, command: [sh, -c, "echo no such port >&2; exit 3"], ports: [80]}]'
    )
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    flags = ["--file", str(application), "--seconds", "5", "--json", *flags_for(mode)]
    with demo(temporary, *flags) as running:
        out, said = finish(running)

    assert (running.returncode, out) == (1, "")
    assert "web-1 did not come up: it ended with exit status 3\n    no such port\n" in said
    (logs,) = temporary.iterdir()
    assert f"all logs are in {logs}" in said
    assert (logs / "web-1.log").read_text() == "no such port\n"


def test_an_application_without_traffic_is_not_well(tmp_path: Path) -> None:
    application = tmp_path / "own.yaml"
    application.write_text('workloads: [{name: idle, command: "sleep 1000"}]')
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    flags = ["--file", str(application), "--seconds", "1", "--json", "--explicit"]
    with demo(temporary, *flags) as running:
        out, said = finish(running)

    assert running.returncode == 1
    assert json.loads(out) == {"ok": False, "transparent": False, "edges": []}
    assert "there was no traffic" in said


def test_mistakes_in_an_application_are_told_line_by_line(tmp_path: Path) -> None:
    application = tmp_path / "own.yaml"
    application.write_text("workloads: [{name: A_b, command: x}, {name: c}]")
    with demo(tmp_path, "--file", str(application)) as running:
        out, said = finish(running)

    assert (running.returncode, out) == (2, "")
    assert said.splitlines() == [
        "tulle demo: not an application:",
        f"{application}: workloads[1].command: missing",
        f"{application}: workloads[0].name 'A_b': expected a DNS label such as 'web-1'",
    ]


def test_a_machine_that_cannot_intercept_says_so_and_goes_on(tmp_path: Path) -> None:
    # Only what runs the demo itself is on the PATH; tools of the system are hidden by name.
    blind = tmp_path / "bin"
    blind.mkdir()
    (blind / "unshare").write_text(
        "#!/bin/sh\necho 'unshare: Operation not permitted' >&2\nexit 1\n"
    )
    (blind / "unshare").chmod(0o755)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    env = os.environ | {"PATH": f"{blind}:{os.environ['PATH']}", "TMPDIR": str(temporary)}

    done = subprocess.run(
        [*COMMAND, "--seconds", "2", "--json"],
        env=env,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["transparent"] is False
    assert done.stderr.splitlines()[0].startswith("explicit mode, through http_proxy: namespaces")
