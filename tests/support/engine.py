"""Just enough of a container engine to run docker-compose.yml where there is no Docker.

Every container has a root directory of its own (this machine's programs, nothing else of its files), its
user, its rights, its volumes, and the network namespace that the compose file gives it. Names resolve through
a hosts file. Images are this environment: what is in them is for other tests to say.

    python -m tests.support.engine NAME [ARGUMENT …]     inside a namespace: become that container
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.support.compose import ROOT, Container, containers
from tests.support.hosts import Hosts
from tests.support.roots import SEARCH, bind, freeze, inside, make_root, memory

STATE = Path("/run/engine")
BRIDGE_NETWORK = 16
IMAGE_UID = {"control": 2103, "proxy": 2102}
STARTED = "service_started"
PAUSE_SECONDS = 0.3
"""Between two looks at who is healthy: each of them takes time from those who are coming up."""
STEP_SECONDS = 40.0
"""For one container more to come up."""


class Engine:
    """Runs the compose file's containers on `hosts`, which has one host for each network namespace."""

    def __init__(self, hosts: Hosts) -> None:
        self.containers = containers()
        self._hosts = hosts
        self._running: dict[str, subprocess.Popen[str]] = {}
        self._reached: set[tuple[str, str]] = set()
        """Containers, each with a condition that others waited for and that it has come to."""

    def up(self) -> None:
        """Start everything but tools, each as soon as it may; AssertionError tells what is missing."""
        self._give_addresses()
        waiting, until = self.in_order(), time.monotonic() + STEP_SECONDS
        while waiting:
            wanted = {pair for container in waiting for pair in _conditions(container)}
            missing = {pair for pair in wanted if not self._has_reached(*pair)}
            ready = [container for container in waiting if not _conditions(container) & missing]
            if not ready:
                time.sleep(PAUSE_SECONDS)
            for container in ready:
                self.start(container.name)
                waiting.remove(container)
                until = time.monotonic() + STEP_SECONDS
            logs = "".join(f"{name} is not {how}:\n{self.log(name)}\n" for name, how in missing)
            assert time.monotonic() < until, logs

    def in_order(self) -> list[Container]:
        """All containers but tools, each after what it waits for or lives in."""
        ordered: dict[str, Container] = {}

        def add(container: Container) -> None:
            for name in (container.pod, *container.raw.get("depends_on", {})):
                if name not in ordered and name != container.name:
                    add(self.containers[name])
            ordered[container.name] = container

        for container in self.containers.values():
            if "profiles" not in container.raw and container.name not in ordered:
                add(container)
        return list(ordered.values())

    def start(self, name: str) -> None:
        """Start a container; its output goes to a log."""
        self._running[name] = self._hosts.start(self._host(name), *self._command(name))

    def kill(self, name: str) -> None:
        """Let a container's program die at once."""
        self._running[name].kill()
        self._running[name].wait(10)

    def run(self, name: str, *arguments: str) -> str:
        """Run a tool to its end; what it said."""
        return self._hosts.run(self._host(name), *self._command(name, *arguments))

    def log(self, name: str) -> str:
        """What a container has said so far."""
        return self._hosts.run("", "cat", str(STATE / "logs" / name), check=False)

    def is_healthy(self, name: str) -> bool:
        """What the container's health check says now."""
        done = subprocess.run(
            self._hosts.command(self._host(name), *self._command(name, "--check-health")),
            capture_output=True,
            check=False,
        )
        return done.returncode == 0

    def _command(self, name: str, *arguments: str) -> tuple[str, ...]:
        me = (sys.executable, "-m", "tests.support.engine")
        return ("unshare", "--mount", "env", "-C", str(ROOT), *me, name, *arguments)

    def _host(self, name: str) -> str:
        return self.containers[name].pod

    def _give_addresses(self) -> None:
        """The compose file's addresses, and for the rest one each out of the pool."""
        hosts = ["127.0.0.1 localhost"]
        self._hosts.run("", "ip", "addr", "add", f"10.77.0.1/{BRIDGE_NETWORK}", "dev", "bridge0")
        for number, name in enumerate(networks(), 1):
            static = self.containers[name].raw.get("networks", {}).get("default", {})
            address = static.get("ipv4_address", f"10.77.1.{number}")
            hosts.append(f"{address} {name}")
            self._hosts.run("", "ip", "-n", name, "addr", "flush", "dev", "eth0")
            batch = (
                f"addr add {address}/{BRIDGE_NETWORK} dev eth0\nroute add default via 10.77.0.1\n"
            )
            self._hosts.run("", "ip", "-n", name, "-batch", "-", text=batch)
        for folder in ("hosts", "logs", "roots", "volumes"):
            self._hosts.run("", "mkdir", "-p", str(STATE / folder))
        for name in networks():
            extra = [
                " ".join(reversed(h.split(":")))
                for h in self.containers[name].raw.get("extra_hosts", ())
            ]
            text = "\n".join([*hosts, *extra, ""])
            self._hosts.run("", "tee", str(STATE / "hosts" / name), text=text)

    def _has_reached(self, name: str, condition: str) -> bool:
        """Whether a container has started, ended well or become healthy, whichever is asked for."""
        process = self._running.get(name)
        if process is None or (name, condition) in self._reached:
            return process is not None
        status = process.poll()
        if condition == "service_completed_successfully":
            assert not status, f"{name} ended with {status}:\n{self.log(name)}"
            reached = status == 0
        else:
            assert status is None, f"{name} ended:\n{self.log(name)}"
            reached = condition == STARTED or self.is_healthy(name)
        if reached:
            self._reached.add((name, condition))
        return reached


def _conditions(container: Container) -> set[tuple[str, str]]:
    """Of which other containers it needs what."""
    needs = container.raw.get("depends_on", {})
    pairs = {(name, how["condition"]) for name, how in needs.items()}
    return pairs if container.pod == container.name else pairs | {(container.pod, STARTED)}


def networks() -> list[str]:
    """The containers that have a network namespace of their own."""
    return [c.name for c in containers().values() if c.pod == c.name]


def become(container: Container, arguments: list[str]) -> None:
    """Turn this process into the container's program; never returns."""
    root = STATE / "roots" / container.name
    make_root(root, STATE / "hosts" / container.pod)
    for place in container.raw.get("tmpfs", ()):
        memory(inside(root, place))
    for mount in container.mounts:
        target = inside(root, mount.target)
        target.mkdir(parents=True, exist_ok=True)
        source = _volume(container, mount.source, mount.target)
        bind(source, target, read_only=mount.read_only)
    if container.raw.get("read_only"):
        freeze(root)
    log = None if arguments else (STATE / "logs" / container.name).open("ab", buffering=0)
    os.chroot(root)
    os.chdir("/")
    if log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    argv, env = _argv(container, arguments), _environment(container)
    os.execvpe("setpriv", [*_rights(container), *argv], env)


def _argv(container: Container, arguments: list[str]) -> list[str]:
    if arguments == ["--check-health"]:
        check = container.raw.get("healthcheck", {}).get("test") or [
            "CMD",
            *_image_check(container),
        ]
        return list(check[1:])
    entry = list(container.raw.get("entrypoint", ()))
    return [*entry, *(arguments or container.command or ["python", "-m", "proxy"])]


def _image_check(container: Container) -> list[str]:
    port = {"control": 9990, "proxy": 4191}[container.target]
    code = f"import urllib.request as r; r.urlopen('http://127.0.0.1:{port}/ready', timeout=2)"
    return ["python", "-c", code]


def _environment(container: Container) -> dict[str, str]:
    return {
        "PATH": SEARCH,
        "PYTHONSAFEPATH": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    } | container.environment


def _rights(container: Container) -> list[str]:
    uid = IMAGE_UID[container.target] if container.uid is None else container.uid
    added = "".join(f",+{name.lower()}" for name in container.raw.get("cap_add", ()))
    user = [f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs"]
    return ["setpriv", *user, f"--bounding-set=-all{added}", "--inh-caps=-all"]


def _volume(container: Container, source: str, target: str) -> Path:
    """Where a volume is; a new one belongs to whom the image's folder belongs."""
    if source.startswith("."):
        return ROOT / source
    folder = STATE / "volumes" / source
    if not folder.exists():
        folder.mkdir(mode=0o700)
        if target in ("/mesh", "/var/lib/tulle"):
            owner = IMAGE_UID[container.target]
            os.chown(folder, owner, owner)
    return folder


if __name__ == "__main__":
    become(containers()[sys.argv[1]], sys.argv[2:])
