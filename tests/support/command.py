"""`python -m cli` as a person runs it: a process, what it printed, and how it ended."""

import subprocess
import sys
from pathlib import Path

import anyio

from common.config import environment


def environment_for(mesh: Path | None = None) -> dict[str, str]:
    """The environment of a command: nothing of ours but the mesh."""
    env = {"PATH": environment().get("PATH", ""), "PYTHONWARNINGS": "error", "LANG": "C.UTF-8"}
    # Whose cluster the machine's owner works with is nobody's business here.
    env["KUBECONFIG"] = "/nowhere"
    return env | ({"TULLE_MESH": str(mesh)} if mesh else {})


def command(*arguments: str) -> list[str]:
    """The words that start `tulle` with these arguments."""
    return [sys.executable, "-m", "cli", *arguments]


async def tulle(
    *arguments: str, mesh: Path | None = None, seconds: float = 30.0
) -> "subprocess.CompletedProcess[str]":
    """Run `tulle` to its end; TimeoutError if that takes longer than `seconds`."""
    with anyio.fail_after(seconds):
        done = await anyio.run_process(command(*arguments), env=environment_for(mesh), check=False)
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )
