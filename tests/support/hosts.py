"""Network namespaces with cables between them, made without root and gone with the test.

A test that needs them calls `require()` first: where the machine cannot, it is skipped with the reason, or
fails if TULLE_REQUIRE_HOSTS=1 says that the machine should be able to.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import NoReturn

import pytest

from demo import abilities, namespaces

PATH = abilities.search_path(os.environ.get("PATH", ""))
NETWORK = IPv4Network("10.77.0.0/24")
GATEWAY = "10.77.0.1"
SERVICES = "10.96.0.0/16"


def require() -> None:
    """Skip the test, or fail it where that is not allowed, if namespaces cannot be made here."""
    if hindrance := abilities.hindrance(PATH):
        give_up(hindrance)


def require_root() -> None:
    """Skip the test, or fail it where that is not allowed, if it needs to become several users."""
    require()
    if os.geteuid() != 0:
        give_up("several users can only be had by root")


def give_up(why: str) -> NoReturn:
    """Skip, or fail if TULLE_REQUIRE_HOSTS=1."""
    if os.environ.get("TULLE_REQUIRE_HOSTS") == "1":
        pytest.fail(why)
    pytest.skip(why)


class Hosts:
    """Namespaces on one bridge. Host number n, from 1, has the address 10.77.0.(10+n) and fd77::(10+n).

    With `users`, real users can be had (needs root); otherwise there is root alone, of a user namespace.
    """

    def __init__(self, names: tuple[str, ...], *, users: bool = False) -> None:
        self._names = names
        self._enter = [word for word in namespaces.ENTER if not (users and word in ("-U", "-r"))]
        self._users = users
        self._pid = 0
        self._keeper: subprocess.Popen[bytes] | None = None
        self._programs: list[subprocess.Popen[str]] = []

    def __enter__(self) -> "Hosts":
        # Ends with our standard input, so it does not outlive the test whatever happens.
        self._keeper = subprocess.Popen(
            [*self._enter, "sh", "-c", "echo up; exec cat >/dev/null"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PATH": PATH},
        )
        assert self._keeper.stdout is not None
        assert self._keeper.stdout.readline() == b"up\n"
        children = Path(f"/proc/{self._keeper.pid}/task/{self._keeper.pid}/children")
        self._pid = int(children.read_text().split()[0])
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _build(self) -> None:
        self.run("", "mount", "-t", "tmpfs", "tulle", "/run")
        self._ip(
            "",
            f"link add bridge0 type bridge\naddr add {GATEWAY}/24 dev bridge0\nlink set bridge0 up",
        )
        for number, name in enumerate(self._names, 11):
            self._ip(
                "", f"netns add {name}\nlink add v{number} type veth peer name eth0 netns {name}"
            )
            self._ip("", f"link set v{number} master bridge0 up")
            self._ip(
                name,
                f"link set lo up\naddr add 10.77.0.{number}/24 dev eth0\n"
                f"addr add fd77::{number}/64 dev eth0 nodad\nlink set eth0 up\n"
                f"route add {SERVICES} via {GATEWAY}",
            )

    def __exit__(self, *_: object) -> None:
        assert self._keeper is not None
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        # The first process of the process namespace ends, so the kernel ends all others.
        self._keeper.stdin.close()
        self._keeper.stdout.close()
        self._keeper.wait(10)
        for program in self._programs:
            program.communicate(timeout=10)

    def command(self, host: str, *argv: str) -> list[str]:
        """The command that runs `argv` on a host; "" is the one with the bridge."""
        user = [] if self._users else ["-U", "--preserve-credentials"]
        inside = namespaces.inside(host, argv)
        return ["nsenter", "-t", str(self._pid), *user, "-m", "-n", "-p", "--", *inside]

    def run(self, host: str, *argv: str, check: bool = True, text: str = "") -> str:
        """Run a command on a host; its standard output. Both outputs are shown if it fails."""
        done = subprocess.run(
            self.command(host, *argv),
            input=text,
            capture_output=True,
            text=True,
            env=os.environ | {"PATH": PATH},
            timeout=60,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{argv} on {host}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def start(self, host: str, *argv: str) -> "subprocess.Popen[str]":
        """Start a program on a host; ended at the end. Its standard output is a pipe."""
        program = subprocess.Popen(
            self.command(host, *argv),
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PATH": PATH},
        )
        self._programs.append(program)
        return program

    def python(self, host: str, code: str, *args: str) -> str:
        """Run a little Python on a host; what it printed."""
        return self.run(host, sys.executable, "-P", "-c", code, *args).strip()

    def redirect(self, host: str, *flags: str) -> None:
        """Intercept on a host as `python -m proxy.redirect` does."""
        self.run(host, sys.executable, "-P", "-m", "proxy.redirect", *flags)

    def _ip(self, host: str, batch: str) -> None:
        where = ("-n", host) if host else ()
        self.run("", "ip", *where, "-batch", "-", text=batch + "\n")


@contextlib.contextmanager
def hosts(*names: str, users: bool = False) -> Iterator[Hosts]:
    """The named hosts, for as long as the context lasts; the test is skipped where they cannot be had."""
    require_root() if users else require()
    with Hosts(names, users=users) as made:
        yield made
