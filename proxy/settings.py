"""What a proxy is told at its start, by environment variables. What may change later comes from the bus."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from common.names import DEFAULT_TRUST_DOMAIN, Identity, WorkloadName

Listen = Annotated[
    str,
    Meta(
        pattern=r"^(\[[0-9a-fA-F:]+\]|[0-9.]+|\*):[0-9]{1,5}$",
        description="HOST:PORT; * is every address, IPv4 and IPv6",
    ),
]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Each field is the variable TULLE_<FIELD>; see docs/operating.md."""

    namespace: Annotated[str, Meta(description="the workload's namespace")]
    workload: Annotated[str, Meta(description="the workload's name (a pod's name)")]
    service_account: Annotated[str, Meta(description="the service account that it runs as")]
    bus: Annotated[
        tuple[str, ...], Meta(min_length=1, description="NATS servers: tls://HOST:PORT, …")
    ]
    trust_anchors_file: Annotated[str, Meta(description="path to the trust anchors (PEM)")]
    state_dir: Annotated[str, Meta(description="a directory for what survives a restart")]
    token_file: Annotated[str, Meta(description="path to the join token")] = ""
    uid: Annotated[str, Meta(description="the workload's uid (a pod's uid)")] = ""
    owner: Annotated[str, Meta(description="what made the workload, such as its deployment")] = ""
    zone: Annotated[
        str,
        Meta(
            description="where it runs, as endpoints' hints name it; by default as destination says"
        ),
    ] = ""
    trust_domain: Annotated[str, Meta(description="the mesh's trust domain")] = DEFAULT_TRUST_DOMAIN
    cluster_domain: Annotated[str, Meta(description="the suffix of service names")] = (
        "cluster.local"
    )
    outbound_listen: Annotated[tuple[Listen, ...], Meta(description="HOST:PORT, …")] = (
        "127.0.0.1:4140",
    )
    inbound_listen: Annotated[Listen, Meta(description="HOST:PORT")] = "0.0.0.0:4143"
    admin_listen: Annotated[Listen, Meta(description="HOST:PORT")] = "0.0.0.0:4191"
    mark: Annotated[
        int, Meta(ge=0, le=2**32 - 1, description="SO_MARK of its own sockets; 0: none")
    ] = 0
    max_connections: Annotated[
        int, Meta(ge=1, le=1_000_000, description="connections accepted at a time, each way")
    ] = 10_000
    outbound_connect_seconds: Annotated[
        float, Meta(gt=0, le=60, description="time to connect to an endpoint")
    ] = 1.0
    inbound_connect_seconds: Annotated[
        float, Meta(gt=0, le=60, description="time to connect to the application")
    ] = 1.0
    shutdown_grace_seconds: Annotated[
        float, Meta(ge=0, le=3600, description="time to finish what is open")
    ] = 120.0
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="how much is logged")
    ] = "info"
    log_format: Annotated[Literal["plain", "json"], Meta(description="for people or machines")] = (
        "plain"
    )

    @property
    def name(self) -> WorkloadName:
        """The workload that this proxy stands beside; raises InvalidName."""
        return WorkloadName(namespace=self.namespace, name=self.workload)

    @property
    def identity(self) -> Identity:
        """Who the workload is; raises InvalidName."""
        return Identity(
            namespace=self.namespace,
            service_account=self.service_account,
            trust_domain=self.trust_domain,
        )


def split_listen(listen: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT` or `[HOST]:PORT`; the host `*` stays."""
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)
