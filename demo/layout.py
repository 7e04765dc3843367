"""Which replica has which name and address, and which service has which: decided once, used everywhere.

Transparent: every replica has a network namespace and an address in 10.66.0.0/16 to itself, and names
resolve to service addresses in 10.96.0.0/16 which exist nowhere: connections to them are intercepted.
Explicit: every replica has a loopback address of its own and its program is told to use a forward proxy.
Addresses that end in .0.1 of the network are the control plane's.
"""

from ipaddress import IPv4Address, IPv4Network
from typing import Literal

import msgspec

from common.names import DEFAULT_TRUST_DOMAIN, Identity, ServiceName, WorkloadName
from demo.plan import Application, Port, Workload

Mode = Literal["transparent", "explicit"]
TRANSPARENT_NETWORK = IPv4Network("10.66.0.0/16")
SERVICE_NETWORK = IPv4Network("10.96.0.0/16")
_FIRST_WORKLOAD = 256
_FIRST_SERVICE = 10


class Replica(msgspec.Struct, frozen=True, kw_only=True):
    """One running copy of a workload: a pod, if this were Kubernetes."""

    workload: Workload
    number: int
    """From 1."""
    name: WorkloadName
    identity: Identity
    address: str
    uid: str

    @property
    def env(self) -> dict[str, str]:
        """What the application file says for this replica, its own values last."""
        return self.workload.env | self.workload.replica_env.get(self.number, {})


class ServicePlace(msgspec.Struct, frozen=True, kw_only=True):
    """A service: where it seems to be, and the replicas behind it."""

    name: ServiceName
    address: str
    ports: tuple[Port, ...]
    replicas: tuple[Replica, ...]

    @property
    def host_names(self) -> tuple[str, ...]:
        """Every way in which a program may spell it."""
        name, namespace = self.name.name, self.name.namespace
        return name, f"{name}.{namespace}", f"{name}.{namespace}.svc.cluster.local"


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything is."""

    mode: Mode
    namespace: str
    network: str
    control: str
    """The control plane's address, as the proxies reach it."""
    replicas: tuple[Replica, ...]
    services: tuple[ServicePlace, ...]
    calls: tuple[tuple[str, str], ...]
    """Connections that must carry traffic: (source, target)."""

    @property
    def transparent(self) -> bool:
        """True if connections are intercepted."""
        return self.mode == "transparent"

    def meshed(self, owner: str) -> bool:
        """True if this workload has proxies."""
        return any(r.workload.meshed for r in self.replicas if r.workload.name == owner)


def lay_out(application: Application, mode: Mode, network: IPv4Network) -> Layout:
    """Give every replica and service of the application its name and address within `network`."""
    replicas: list[Replica] = []
    services: list[ServicePlace] = []
    for workload in application.workloads:
        mine = tuple(
            _replica(
                application, workload, number, network[_FIRST_WORKLOAD + len(replicas) + number]
            )
            for number in range(1, workload.replicas + 1)
        )
        replicas += mine
        if workload.served:
            services.append(
                ServicePlace(
                    name=ServiceName(application.namespace, workload.name),
                    address=str(SERVICE_NETWORK[_FIRST_SERVICE + len(services)]),
                    ports=workload.served,
                    replicas=mine,
                )
            )
    return Layout(
        mode=mode,
        namespace=application.namespace,
        network=str(network),
        control=str(network[1]),
        replicas=tuple(replicas),
        services=tuple(services),
        calls=tuple((w.name, called) for w in application.workloads for called in w.calls),
    )


def _replica(
    application: Application, workload: Workload, number: int, address: IPv4Address
) -> Replica:
    name = f"{workload.name}-{number}"
    return Replica(
        workload=workload,
        number=number,
        name=WorkloadName(application.namespace, name),
        identity=Identity(application.namespace, workload.name, DEFAULT_TRUST_DOMAIN),
        address=str(address),
        uid=f"{application.namespace}-{name}-{int(address):08x}",
    )
