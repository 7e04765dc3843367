"""What the figures were taken on: results without that mean nothing."""

import datetime
import os
import platform
import re
import ssl
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks import tools as programs
from benchmarks.record import Record

ROOT = Path(__file__).resolve().parent.parent
_LIBRARIES = ("uvloop", "msgspec", "nats-py")


def describe(record: Record, tools: programs.Tools) -> Record:
    """Write machine, versions and day into a record."""
    record.machine = {
        "cpu": _cpu(),
        "cores": str(len(os.sched_getaffinity(0))),
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", ""),
    }
    record.versions = {"tulle": _revision(), "python": platform.python_version()}
    record.versions |= {"openssl": ssl.OPENSSL_VERSION}
    record.versions |= {name: found for name in _LIBRARIES if (found := _installed(name))}
    record.versions |= programs.versions(tools)
    record.taken_on = datetime.datetime.now(datetime.UTC).date().isoformat()
    return record


def told() -> str:
    """The day, the machine and what ran on it, in one line."""
    day, cores = datetime.datetime.now(datetime.UTC).date(), len(os.sched_getaffinity(0))
    return f"{day.isoformat()}: Tulle {_revision()}, Python {platform.python_version()}, {cores} × {_cpu()}"


def _cpu() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    return found.group(1) if found else platform.machine()


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _revision() -> str:
    """Tulle's version and, in a checkout, its commit; with a + if files differ from it."""
    argv = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        told = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return _installed("tulle")
    return f"{_installed('tulle')} ({told.stdout.strip()})"
