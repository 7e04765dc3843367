"""The server session against h2spec, the conformance suite: generic, http2 and hpack, the strict ones too."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
PROGRAM = CACHE / "tulle" / "bin" / "h2spec"
MISSING = "h2spec is not there: make h2spec builds it, once, with Go"


@pytest.fixture
def port() -> Iterator[int]:
    """Where a server of ours listens, in a process of its own."""
    command = [sys.executable, "-m", "tests.support.http2_target", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as target:
        try:
            assert target.stdout is not None
            yield int(target.stdout.readline())
        finally:
            target.kill()


def test_every_case_of_the_conformance_suite_passes(port: int) -> None:
    program = shutil.which("h2spec") or (str(PROGRAM) if PROGRAM.exists() else None)
    if program is None:
        pytest.skip(MISSING)

    done = subprocess.run(
        [program, "--strict", "--timeout", "10", "--port", str(port)],
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    summary = re.search(r"(\d+) tests, (\d+) passed, 0 skipped, 0 failed", done.stdout)
    assert summary is not None, done.stdout
    assert summary[1] == summary[2] == "146"
