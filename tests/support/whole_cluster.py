"""A whole Kubernetes cluster on one machine: API server, controllers, and a node that runs what they want.

All of it lives in network namespaces of its own (tests/support/hosts.py), is reached by `kubectl` from here,
and is gone with the test. The node is tests/support/kubelet; nothing else is ours.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from common.clock import SystemClock
from tests.support.cluster import HOW, Cluster, assets
from tests.support.hosts import Hosts, hosts, require_root
from tests.support.kubelet.network import API, NODE
from tests.support.roots import ROOT, SEARCH

CONTROLLERS = (
    *("deployment", "replicaset", "statefulset", "job", "endpointslice", "disruption"),
    *("serviceaccount", "root-ca-certificate-publisher", "namespace", "garbage-collector"),
)
_clock = SystemClock()


class WholeCluster(Cluster):
    """An API server on the bridge of `hosts`, with controllers and a node."""

    addresses = (NODE, API)

    def __init__(self, programs: Path, hosts: Hosts) -> None:
        self._hosts = hosts
        super().__init__(programs)

    def flags(self) -> list[str]:
        """Accounts are made here as in any cluster, so pods get their tokens by themselves."""
        return ["--kubelet-preferred-address-types=InternalIP"]

    def command(self, *argv: str) -> list[str]:
        """The command that runs `argv` on the node."""
        # nsenter(1) does not end what it has started when it is ended itself.
        return self._hosts.command("", "setpriv", "--pdeathsig", "KILL", "--", *argv)

    def start(self) -> None:
        """Start everything, and wait until there is a node; whatever fails, `close` tidies up."""
        self._hosts.run("", "ip", "link", "set", "lo", "up")
        super().start()
        self._run(
            "kube-controller-manager",
            f"--kubeconfig={self.kubeconfig}",
            f"--controllers={','.join(f'{name}-controller' for name in CONTROLLERS)}",
            f"--root-ca-file={self.folder / 'ca.crt'}",
            f"--service-account-private-key-file={self.folder / 'accounts.key'}",
            f"--cert-dir={self.folder}",
            "--leader-elect=false",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        )
        arguments = (str(self.kubeconfig), str(self.folder / "node"), str(self.port))
        self._run("kubelet", "-m", "tests.support.kubelet", *arguments, program=sys.executable)
        self.until(lambda: "Ready" in self.kubectl("get", "nodes"), "node")

    def close(self) -> None:
        """End what acts; what it has started ends with the namespaces, and only then are files removed."""
        for name in ("kubelet", "kube-controller-manager", "kube-apiserver", "etcd"):
            self._stop(name)

    def get(self, *words: str) -> Any:
        """What `kubectl get` has to say, as JSON."""
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def shell(self, command: str, seconds: float = 330.0) -> str:
        """What a command prints in a shell at the top of the checkout, with `kubectl` and `tulle` at hand.

        AssertionError shows what it said if it fails.
        """
        done = subprocess.run(
            self.command(*self._in_shell(command)),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        told = f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        assert done.returncode == 0, f"{told}\n{self.story()}"
        return done.stdout

    def begin(self, command: str) -> "subprocess.Popen[str]":
        """Start a command in such a shell; its standard output is a pipe, and it ends with the cluster."""
        return self._hosts.start("", *self._in_shell(command))

    def _in_shell(self, command: str) -> tuple[str, ...]:
        path = f"PATH={self.programs}:{SEARCH}"
        config = f"KUBECONFIG={self.kubeconfig}"
        return ("env", "-C", str(ROOT), path, config, "sh", "-c", command)

    def until(self, true: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        """Wait for something; AssertionError says what did not happen, and what the node says."""
        deadline = _clock.monotonic() + seconds
        while not true():
            assert _clock.monotonic() < deadline, f"{what}: not within {seconds} s\n{self.story()}"
            time.sleep(0.2)

    def story(self) -> str:
        """What there is, and the end of what everybody said: for whoever looks for a fault."""
        parts = [self.kubectl("get", "pods", "-A", "-o", "wide")]
        logs = [self.folder / "kubelet.log", *sorted(self.folder.glob("node/pods/*/*.log"))]
        for log in logs:
            lines = log.read_text(errors="replace").splitlines()[-6:]
            parts.append("\n  ".join([f"{log.parent.name}/{log.name}", *(x[:200] for x in lines)]))
        return "\n".join(parts)

    def _answers(self) -> bool:
        try:
            return self.kubectl("get", "--raw=/readyz") == "ok"
        except subprocess.CalledProcessError:
            return False


@contextmanager
def whole_cluster() -> Iterator[WholeCluster]:
    """A cluster, for as long as the context lasts; the test is skipped where it cannot be had."""
    require_root()
    programs = assets("kube-controller-manager")
    if programs is None:
        pytest.skip(HOW)
    with ExitStack() as last, hosts(users=True) as namespaces:
        running = WholeCluster(programs, namespaces)
        last.callback(running.remove)
        try:
            running.start()
            yield running
        finally:
            running.close()
