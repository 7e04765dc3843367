"""A real Kubernetes API server on loopback: etcd and kube-apiserver, nothing behind them that acts.

There is no scheduler, no kubelet and no controller: what a test wants to be there it creates, and nothing that
is deleted in the background (a namespace, say) ever goes. Tests keep to namespaces of their own.
"""

import base64
import json
import os
import shutil
import ssl
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from common.clock import SystemClock
from common.config import environment
from common.kube.access import KubeConfig
from common.kube.client import Client
from common.nats_server import die_with, free_port
from tests.support.certificates import self_signed

PROGRAMS = ("etcd", "kube-apiserver", "kubectl")
APART = "config.tulle.dev/admission-webhooks"
"""The label of namespaces that the webhook of k8s/ leaves alone."""
HOW = "no Kubernetes API server: run `make envtest`, or set KUBEBUILDER_ASSETS"
ADMIN = "admin-of-the-tests"
START_SECONDS = 90.0


def assets(*more: str) -> Path | None:
    """Where the programs (and `more` of them) are: in $KUBEBUILDER_ASSETS, or where `make envtest` puts them.

    None: not all of them are there.
    """
    env = environment()
    cache = Path(env.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(env.get("KUBEBUILDER_ASSETS") or cache / "tulle" / "envtest")
    return folder if all((folder / name).is_file() for name in (*PROGRAMS, *more)) else None


class Cluster:
    """The API server's processes and files; `close` leaves nothing behind."""

    addresses: tuple[str, ...] = ("127.0.0.1",)
    """Where it listens (the first), and other addresses that lead to it."""

    def __init__(self, programs: Path) -> None:
        self.port = free_port()
        self.etcd_port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="tulle-kube-"))
        self.programs = programs
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        served = self_signed(*self.addresses)
        self._write("ca.crt", served.certificate)
        self._write("tls.key", served.key)
        accounts = self_signed()
        self._write("accounts.crt", accounts.certificate)
        self._write("accounts.key", accounts.key)
        self._write("tokens.csv", f"{ADMIN},admin,admin,system:masters\n")
        self.kubeconfig = self.write_kubeconfig("admin", ADMIN)
        self._context = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))

    @property
    def url(self) -> str:
        """Where the API is."""
        return f"https://{self.addresses[0]}:{self.port}"

    def client(self, token: str = ADMIN, port: int | None = None) -> Client:
        """A client with this token; `port` for another way to the server, as through a relay."""
        return Client(KubeConfig(self.write_kubeconfig(f"user-{port}-{hash(token)}", token, port)))

    def start(self) -> None:
        """Start both, and wait until the API answers; whatever fails, `close` tidies up."""
        self._run(
            "etcd",
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{self.etcd_port}",
            f"--advertise-client-urls=http://127.0.0.1:{self.etcd_port}",
            f"--listen-peer-urls=http://127.0.0.1:{free_port()}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        )
        self.start_api()
        clock = SystemClock()
        deadline = clock.monotonic() + START_SECONDS
        while not self.ready():
            if clock.monotonic() > deadline:
                raise TimeoutError(f"kube-apiserver is not ready:\n{self._tail()}")

    def start_api(self) -> None:
        """Start the API server; it answers some seconds later (see `ready`)."""
        where = self.folder
        self._run(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self.etcd_port}",
            f"--secure-port={self.port}",
            f"--bind-address={self.addresses[0]}",
            f"--advertise-address={self.addresses[0]}",
            f"--tls-cert-file={where / 'ca.crt'}",
            f"--tls-private-key-file={where / 'tls.key'}",
            f"--token-auth-file={where / 'tokens.csv'}",
            f"--service-account-key-file={where / 'accounts.crt'}",
            f"--service-account-signing-key-file={where / 'accounts.key'}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            "--service-cluster-ip-range=10.96.0.0/16,fd00:96::/112",
            "--authorization-mode=RBAC",
            *self.flags(),
            "--allow-privileged=true",
            "--endpoint-reconciler-type=none",
            "--profiling=false",
        )

    def flags(self) -> list[str]:
        """What else the API server is told."""
        # It would wait for accounts that only a controller makes.
        return ["--disable-admission-plugins=ServiceAccount"]

    def command(self, *argv: str) -> list[str]:
        """The command that runs `argv` where the cluster is."""
        return list(argv)

    def stop_api(self) -> None:
        """Kill the API server, and every connection to it."""
        self._stop("kube-apiserver")

    def ready(self) -> bool:
        """Whether the API answers."""
        process = self._processes["kube-apiserver"]
        if process.poll() is not None:
            raise RuntimeError(f"kube-apiserver has ended:\n{self._tail()}")
        return self._answers()

    def _answers(self) -> bool:
        request = urllib.request.Request(
            f"{self.url}/readyz", headers={"authorization": f"Bearer {ADMIN}"}
        )
        try:
            with urllib.request.urlopen(request, context=self._context, timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def kubectl(self, *args: str, stdin: str = "") -> str:
        """What kubectl says; CalledProcessError, with its standard error, if it fails."""
        done = subprocess.run(
            self.command(str(self.programs / "kubectl"), f"--kubeconfig={self.kubeconfig}", *args),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode:
            raise subprocess.CalledProcessError(
                done.returncode, ["kubectl", *args], done.stdout, done.stderr
            )
        return done.stdout

    def apply(self, *items: dict[str, Any]) -> None:
        """Create or change objects, status included where there is one."""
        for more in (["--server-side"], ["--server-side", "--subresource=status"]):
            chosen = items if len(more) == 1 else [item for item in items if "status" in item]
            if chosen:
                text = json.dumps({"apiVersion": "v1", "kind": "List", "items": chosen})
                self.kubectl("apply", *more, "--force-conflicts", "-f", "-", stdin=text)

    def store(self, items: dict[str, dict[str, Any]]) -> None:
        """Write objects by the thousand past the API, by their keys in etcd (`pods/shop/web-1`).

        A hundred share a revision, which the API never does: one who watches meanwhile may miss some of them.
        """
        puts = [
            {"requestPut": {"key": _base64(f"/registry/{key}"), "value": _base64(json.dumps(item))}}
            for key, item in items.items()
        ]
        for start in range(0, len(puts), 100):
            self._etcd("txn", {"success": puts[start : start + 100]})

    def _etcd(self, call: str, body: dict[str, Any]) -> None:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.etcd_port}/v3/kv/{call}", data=json.dumps(body).encode()
        )
        with urllib.request.urlopen(request, timeout=30):
            pass

    def write_kubeconfig(self, name: str, token: str, port: int | None = None) -> Path:
        """A kubeconfig that shows `token`."""
        server = f"https://{self.addresses[0]}:{port or self.port}"
        cluster = {"server": server, "certificate-authority": str(self.folder / "ca.crt")}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": {"token": token}}],
        }
        return self._write(f"{name}.kubeconfig", yaml.safe_dump(document))

    def close(self) -> None:
        """End both, and remove their files."""
        for name in ("kube-apiserver", "etcd"):
            self._stop(name)
        self.remove()

    def remove(self) -> None:
        """Remove all files."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, name: str, *args: str, program: str = "") -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                self.command(program or str(self.programs / name), *args),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                preexec_fn=die_with(os.getpid()),
            )

    def _stop(self, name: str) -> None:
        process = self._processes.pop(name, None)
        if process is not None:
            process.kill()
            process.wait()

    def _write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    def _tail(self) -> str:
        log = self.folder / "kube-apiserver.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
