"""Make `.venv` in the checkout ready for what `make` was asked to do; quick when it already is.

    python3 packaging/set_up.py [--python-was-chosen] [TOOL …]

The environment holds exactly what requirements.lock names, and the checkout itself as an editable
install. It is made anew when the lock or the Python under it changed, and left alone otherwise.
Of the named tools, those that the machine lacks are listed with the command that installs them;
that is a hint, not an error. Runs on any Python 3, so that an old one gets an answer it understands.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST = (3, 11)
ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "tulle-set-up"
LOCK = ROOT / "requirements.lock"
PROJECT = ROOT / "pyproject.toml"
ANOTHER = "Name another one: make PYTHON=/path/to/python3.12 …"

# What a tool is called, and the Debian package it comes in.
PACKAGES = {
    "curl": "curl",
    "h2load": "nghttp2-client",
    "ip": "iproute2",
    "iptables": "iptables",
    "nginx": "nginx-light",
    "openssl": "openssl",
    "psql": "postgresql",
    "redis-server": "redis-server",
    "unshare": "util-linux",
    "wrk": "wrk",
}


def digest(*parts):
    """One word that changes when any of `parts` (bytes) does."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()


def wanted():
    """What the stamp says when all is ready: one line for the environment, one for the install."""
    interpreter = os.fsencode(os.path.realpath(str(PYTHON)))
    environment = digest(LOCK.read_bytes(), interpreter, os.fsencode(str(ROOT)))
    return [environment, digest(PROJECT.read_bytes())]


def found():
    """What the stamp says now; nothing if there is none or its interpreter is gone."""
    if not (STAMP.is_file() and os.access(str(PYTHON), os.X_OK)):
        return []
    return STAMP.read_text().split()


def of_another_python():
    """True if `.venv` stands on another interpreter than the one that runs this."""
    ours = getattr(sys, "_base_executable", None) or sys.executable
    return os.path.realpath(str(PYTHON)) != os.path.realpath(ours)


def pip(*arguments):
    """Run the environment's own pip, whatever the user's pip is told about where to install."""
    env = {k: v for k, v in os.environ.items() if k not in ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT")}
    env.update(PIP_USER="0", PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INPUT="1")
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--no-deps"]
    # Its words go to standard error: `make demo` may owe its standard output to a program.
    subprocess.run(command + list(arguments), cwd=str(ROOT), env=env, stdout=2, check=True)


def make_environment():
    """A fresh `.venv` with the locked packages."""
    say("making .venv with the packages of requirements.lock (once; a minute or so)")
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", str(VENV)], stdout=subprocess.PIPE, check=False
    )
    if made.returncode:
        sys.stderr.write(made.stdout.decode(errors="replace"))
        raise SystemExit(
            "Python cannot make virtual environments here. " + advice(["python3-venv"])
        )
    pip("--require-hashes", "--requirement", "requirements.lock")


def prepare(chosen):
    """Bring `.venv` to what the lock and pyproject.toml say; `chosen`: this very Python is wanted."""
    if found()[:1] != wanted()[:1] or (chosen and of_another_python()):
        make_environment()
        STAMP.write_text(wanted()[0] + "\n")
    if found() != wanted():
        pip("--no-build-isolation", "--editable", ".")
        STAMP.write_text("\n".join(wanted()) + "\n")


def locked():
    """Hold a lock for as long as the returned file is open: two `make` at once take turns."""
    import fcntl  # not on every system, and only needed here

    # On the folder itself: nothing to ignore, nothing to clean up.
    handle = os.open(str(ROOT), os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def missing(tools):
    """Those of `tools` that are not on this machine; sbin counts though users have it not on PATH."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"
    return [tool for tool in tools if not shutil.which(tool, path=path)]


def advice(packages):
    """The command that installs Debian `packages`."""
    return "On Debian: sudo apt-get install " + " ".join(packages)


def say(text):
    """Tell a person, on standard error: standard output belongs to the command that follows."""
    sys.stderr.write("set-up: " + text + "\n")
    sys.stderr.flush()


def main(arguments):
    """Do the set-up; returns the exit status."""
    if sys.version_info[:2] < OLDEST:
        want, have = (".".join(map(str, v)) for v in (OLDEST, sys.version_info[:3]))
        say(f"Tulle needs Python {want} or newer; {sys.executable} is {have}. {ANOTHER}")
        return 2
    tools = [argument for argument in arguments if not argument.startswith("--")]
    turn = locked()
    try:
        prepare("--python-was-chosen" in arguments)
    except subprocess.CalledProcessError as error:
        say("this did not work: " + " ".join(error.cmd))
        return 1
    finally:
        os.close(turn)
    absent = missing(tools)
    if absent:
        packages = sorted({PACKAGES.get(tool, tool) for tool in absent})
        say(f"not on this machine: {', '.join(absent)}; going on without. {advice(packages)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
