"""`tulle demo` as people run it, and what the application's programs say they counted themselves."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.hosts import require

COMMAND = [sys.executable, "-P", "-m", "cli", "demo"]
ACCOUNT = "spiffe://cluster.local/ns/shop/sa/"
MODES = ["transparent", "explicit"]
SECONDS = 60.0


@contextmanager
def demo(tmp_path: Path, *flags: str) -> Iterator["subprocess.Popen[str]"]:
    """A demo whose temporary files are below `tmp_path`; killed if the test leaves it running."""
    env = os.environ | {"TMPDIR": str(tmp_path), "COLUMNS": "200"}
    with subprocess.Popen(
        [*COMMAND, *flags],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def finish(running: "subprocess.Popen[str]") -> tuple[str, str]:
    """What it printed on standard output and error."""
    return running.communicate(timeout=SECONDS)


def flags_for(mode: str) -> list[str]:
    """How the demo is told of its mode; skips where connections cannot be intercepted."""
    if mode == "transparent":
        require()
        return []
    return ["--explicit"]


def own_figures(logs: Path, workload: str, target: str) -> list[dict[str, Any]]:
    """What the replicas of a workload say in their last lines about what they sent to a target."""
    lasts = (path.read_text().splitlines()[-1] for path in logs.glob(f"{workload}-?.log"))
    return [json.loads(last)["sent"][target] for last in lasts]
