"""Where everything listens, in a network namespace that holds nothing else.

All addresses are local, so every connection takes the kernel's short way through the loopback interface.
The service's own address exists nowhere, as in a cluster: connections to it leave through the bridge,
where Tulle's rules catch them; the peers are connected to directly, which costs them no translation.
"""

from ipaddress import IPv4Network

import msgspec

from benchmarks.plan import Contender
from demo.messages import Step

NETWORK = IPv4Network("10.66.0.0/16")
SERVICES = IPv4Network("10.96.0.0/16")
HOST = str(NETWORK[1])
"""Where the control plane and the peers listen."""
BUS_PORT = 4222
HTTP1_PORT, HTTP2_PORT, OPAQUE_PORT = 8000, 8001, 8002
"""Where nginx listens, and what a client of the service connects to."""
PORTS = {
    "http1": HTTP1_PORT,
    "latency": HTTP1_PORT,
    "http2": HTTP2_PORT,
    "grpc": HTTP2_PORT,
    "tcp": OPAQUE_PORT,
    "handshakes": OPAQUE_PORT,
}


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """The ports of a peer's pair on HOST."""

    base: int

    def outbound(self, row: str, way: str = "") -> int:
        """Where a client of the service connects, for this row of the table."""
        return self.base + PORTS[row] % 100 + (10 if way else 0)

    def inbound(self, row: str) -> int:
        """Where the outbound proxy finds the inbound one."""
        return self.base + 20 + PORTS[row] % 100

    def admin(self, side: str) -> int:
        """Where the product says that it is ready, if it does."""
        return self.base + {"outbound": 90, "inbound": 91}[side]


ENVOY_PORTS, HAPROXY_PORTS = Ports(base=15000), Ports(base=16000)


def door(row: str, contender: Contender, service: str) -> tuple[str, int]:
    """Where the client connects in order to be served through a contender."""
    if contender.product == "tulle":
        return service, PORTS[row]
    ports = ENVOY_PORTS if contender.product == "envoy" else HAPROXY_PORTS
    return HOST, ports.outbound(row, contender.way)


def network(addresses: tuple[str, ...]) -> tuple[Step, ...]:
    """What makes the network; `addresses` are the workloads'."""
    bridge = "tulle"
    lines = (
        "link set lo up",
        f"link add {bridge} type bridge",
        *(f"addr add {address}/{NETWORK.prefixlen} dev {bridge}" for address in (HOST, *addresses)),
        f"link set {bridge} up",
        f"route add {SERVICES} dev {bridge}",
    )
    return (Step(argv=("ip", "-batch", "-"), text="\n".join(lines)),)
