"""Where the Kubernetes API is, and how one shows who one is.

In a cluster that is a token which the kubelet replaces every hour, and anchors that may be replaced: both are
read afresh. A kubeconfig is read by kubernetes-asyncio, for its exec plugins and OIDC; it is imported
only then, because its import costs 40 MB.
"""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from common.clock import Clock, SystemClock
from common.config import environment
from common.errors import InvalidSettings, KubernetesUnavailable

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes mounts a pod's own account."""
RELOAD = 60.0
"""Seconds after which a kubeconfig is read again: tokens from plugins expire."""


class Access(Protocol):
    """How the API is reached. All may differ from one request to the next."""

    async def server(self) -> str:
        """Its address, `https://HOST:PORT`. Raises KubernetesUnavailable."""
        ...

    async def tls(self) -> ssl.SSLContext:
        """What it must show, and the certificate to show it. Raises KubernetesUnavailable."""
        ...

    async def authorization(self) -> str:
        """The header of that name; empty for none. Raises KubernetesUnavailable."""
        ...


class InCluster:
    """A pod's own account; raises InvalidSettings where there is none."""

    def __init__(self, account: Path = ACCOUNT, env: Mapping[str, str] | None = None) -> None:
        env = environment() if env is None else env
        host, port = env.get("KUBERNETES_SERVICE_HOST"), env.get("KUBERNETES_SERVICE_PORT")
        if not host or not port:
            raise InvalidSettings("KUBERNETES_SERVICE_HOST: not set; expected to run in a cluster")
        self._server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        self._account = account
        self._anchors = ""
        self._context: ssl.SSLContext | None = None

    async def server(self) -> str:
        """As the kubelet told."""
        return self._server

    async def tls(self) -> ssl.SSLContext:
        """The anchors beside the token; the same context as long as they are the same."""
        anchors = self._read("ca.crt")
        if self._context is None or anchors != self._anchors:
            try:
                self._context = ssl.create_default_context(cadata=anchors)
            except ssl.SSLError as error:
                where = self._account / "ca.crt"
                raise KubernetesUnavailable(f"{where}: no certificates: {error}") from None
            self._anchors = anchors
        return self._context

    async def authorization(self) -> str:
        """The token as it is now."""
        return f"Bearer {self._read('token').strip()}"

    def _read(self, name: str) -> str:
        # From memory, and a few hundred bytes: not worth a thread.
        path = self._account / name
        try:
            return path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise KubernetesUnavailable(f"{path}: cannot be read: {error}") from None


class KubeConfig:
    """A kubeconfig's context (its current one), as kubectl understands it."""

    def __init__(self, path: Path, context: str | None = None, clock: Clock | None = None) -> None:
        self._path = path
        self._name = context
        self._clock = clock or SystemClock()
        self._loaded = float("-inf")
        self._server = ""
        self._authorization = ""
        self._tls: ssl.SSLContext | None = None

    async def server(self) -> str:
        """As the context's cluster says."""
        await self._load()
        return self._server.rstrip("/")

    async def tls(self) -> ssl.SSLContext:
        """The cluster's anchors, the user's certificate."""
        await self._load()
        assert self._tls is not None
        return self._tls

    async def authorization(self) -> str:
        """The user's token, from wherever it comes."""
        await self._load()
        return self._authorization

    async def _load(self) -> None:
        if self._clock.monotonic() - self._loaded < RELOAD:
            return
        from kubernetes_asyncio.client import Configuration
        from kubernetes_asyncio.config import ConfigException, load_kube_config

        found = Configuration()
        try:
            await load_kube_config(
                config_file=str(self._path),
                context=self._name,
                client_configuration=found,
                persist_config=False,
            )
            self._tls = _context(
                found.ssl_ca_cert, found.cert_file, found.key_file, found.verify_ssl
            )
        except (ConfigException, OSError, ValueError) as error:
            raise KubernetesUnavailable(f"{self._path}: {error}") from None
        self._server = str(found.host)
        self._authorization = str(found.api_key.get("BearerToken") or "")
        self._loaded = self._clock.monotonic()


def access(kubeconfig: str) -> Access:
    """The kubeconfig of that path, or the pod's own account if it is empty; raises InvalidSettings."""
    return KubeConfig(Path(kubeconfig)) if kubeconfig else InCluster()


def _context(
    anchors: str | None, certificate: str | None, key: str | None, verify: bool
) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=anchors)
    if certificate:
        context.load_cert_chain(certificate, key)
    if not verify:  # the kubeconfig says `insecure-skip-tls-verify`
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
