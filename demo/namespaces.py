"""The network of the transparent demo: one network namespace per replica, all on one bridge.

Everything happens inside a user namespace of our own, with a mount namespace whose /run nobody else
sees, so it needs no root and is gone when the last process is.
"""

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from demo.layout import SERVICE_NETWORK, Layout, Replica
from demo.messages import Step

BRIDGE = "tulle"
MARK = 0x7011E
"""SO_MARK of the proxies' own sockets."""

# All that runs inside is one process tree, in a process namespace whose first process is the inner side:
# when that one dies, or unshare(1) does, the kernel kills every other.
ENTER = ("unshare", "-U", "-r", "-n", "-m", "-p", "-f", "--mount-proc", "--kill-child")


def inside(host: str, argv: tuple[str, ...]) -> tuple[str, ...]:
    """The command that runs `argv` in the network namespace of a replica; "" is the control plane's."""
    return ("nsenter", f"--net=/run/netns/{host}", "--", *argv) if host else argv


def build(layout: Layout, hosts_file: Path) -> tuple[Step, ...]:
    """What builds the whole network, in this order."""
    prefix = IPv4Network(layout.network).prefixlen
    return (
        # Also the place of iptables' lock, which must be writable.
        Step(argv=("mount", "-t", "tmpfs", "tulle", "/run")),
        Step(argv=("mount", "--bind", str(hosts_file), "/etc/hosts")),
        Step(
            argv=("ip", "-batch", "-"),
            text="\n".join(
                (
                    "link set lo up",
                    f"link add {BRIDGE} type bridge",
                    f"addr add {layout.control}/{prefix} dev {BRIDGE}",
                    f"link set {BRIDGE} up",
                    *(line for replica in layout.replicas for line in _attach(replica)),
                )
            ),
        ),
        *(_inside(replica, layout.control, prefix) for replica in layout.replicas),
    )


def _attach(replica: Replica) -> tuple[str, ...]:
    """A namespace with one end of a cable, whose other end is on the bridge."""
    name = replica.name.name
    # Interface names have at most 15 characters; the address tells replicas apart.
    end = f"v{int(IPv4Address(replica.address)):08x}"
    return (
        f"netns add {name}",
        f"link add {end} type veth peer name eth0 netns {name}",
        f"link set {end} master {BRIDGE} up",
    )


def _inside(replica: Replica, gateway: str, prefix: int) -> Step:
    # Addresses of services exist nowhere; with a route to them, connections get as far as OUTPUT, where
    # they are sent to the proxy. There is no route to anywhere else: a question to a name server fails
    # at once instead of after its time limit.
    lines = (
        "link set lo up",
        f"addr add {replica.address}/{prefix} dev eth0",
        "link set eth0 up",
        f"route add {SERVICE_NETWORK} via {gateway}",
    )
    return Step(argv=("ip", "-n", replica.name.name, "-batch", "-"), text="\n".join(lines))
