"""The outer side of a run: starts the inner one in namespaces of its own, and sees that nothing is left."""

import os
import subprocess
import sys

import msgspec

from benchmarks import tools as programs
from benchmarks.messages import Order
from benchmarks.record import Record
from common.config import environment
from demo import abilities
from demo.namespaces import ENTER
from demo.strays import die_with_parent


class CannotRun(Exception):
    """There is nothing to measure here, or it went wrong; the message is for people."""


def search_path() -> str:
    """PATH with the folders of system tools."""
    return abilities.search_path(environment().get("PATH", ""))


def hindrance(tools: programs.Tools) -> str:
    """Why nothing at all can be measured here; empty if something can."""
    return abilities.hindrance(search_path()) or tools.missing.get("nginx", "")


def record(order: Order) -> Record:
    """Have everything measured; raises CannotRun."""
    return msgspec.json.decode(_inside(order), type=Record)


def profile(order: Order) -> str:
    """Have a proxy profiled; raises CannotRun."""
    return _inside(order).decode()


def _inside(order: Order) -> bytes:
    # As root no user namespace is needed, and perf may look into the kernel.
    enter = [word for word in ENTER if not (os.geteuid() == 0 and word in ("-U", "-r"))]
    inner = subprocess.Popen(
        [*enter, sys.executable, "-P", "-m", "benchmarks.inside"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**environment(), "PATH": search_path()},
        # Ctrl-C on a terminal reaches us alone; if we end, however, the kernel ends unshare(1), and with
        # it everything inside.
        start_new_session=True,
        preexec_fn=die_with_parent(),
    )
    try:
        said, _ = inner.communicate(msgspec.json.encode(order))
    finally:
        inner.kill()
        inner.wait()
    if inner.returncode:
        raise CannotRun("the run failed; what went wrong is told above")
    return said
