"""How a pod's proxy is to be: the mesh's defaults, which annotations change."""

from typing import Literal

import msgspec

from common.version import VERSION
from services.injector.env import Variable


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a proxy that may differ between pods; the fields' defaults are Tulle's."""

    image: str = "tulle-proxy"
    """Without a tag or digest it is completed by `version`."""
    version: str = VERSION
    """Of the proxies that it gives out: the injector's own unless told otherwise."""
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    inbound_port: int = 4143
    outbound_port: int = 4140
    admin_port: int = 4191
    skip_inbound_ports: str = "4567,4568"
    skip_outbound_ports: str = "4567,4568"
    skip_subnets: str = ""
    opaque_ports: str | None = None
    """For destination, which reads the pod's annotation; None: the mesh's list."""
    default_policy: str | None = None
    """For destination as well; None: the mesh's."""
    cpu_request: str = ""
    cpu_limit: str = ""
    memory_request: str = ""
    memory_limit: str = ""
    storage_request: str = ""
    storage_limit: str = ""
    uid: int = 2102
    gid: int | None = None
    log_level: str = "info"
    log_format: str = "plain"
    outbound_connect_seconds: float = 1.0
    inbound_connect_seconds: float = 1.0
    shutdown_grace_seconds: float = 120.0
    wait: bool = True
    """Whether the application's containers wait until the proxy is ready."""
    native: bool = True
    """A native sidecar: an init container that goes on (Kubernetes 1.29 and later)."""
    wait_before_exit_seconds: int = 0
    """How long a classic sidecar goes on as if nothing were after it was told to end."""
    env: tuple[Variable, ...] = ()

    @property
    def full_image(self) -> str:
        """The image with its tag or digest."""
        last = self.image.rpartition("/")[2]
        return self.image if ":" in last or "@" in last else f"{self.image}:{self.version}"


class Mesh(msgspec.Struct, frozen=True, kw_only=True):
    """What every proxy of a mesh is told alike."""

    bus: tuple[str, ...]
    trust_anchors: str
    """PEM."""
    trust_domain: str = "cluster.local"
    cluster_domain: str = "cluster.local"
    defaults: Options = Options()
