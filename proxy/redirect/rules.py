"""Which connections go to the proxy: settings in, rules of the nat table out, in the order they match.

Only TCP is touched. Inbound, everything that arrives goes to the proxy's inbound port except what is
ignored. Outbound, everything that leaves goes to the proxy's outbound port except what the proxy itself
sends (told by its uid, gid or socket mark), what stays on the loopback interface and what is ignored.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Literal

from proxy.redirect.ports import Ports, chunks

Family = Literal[4, 6]
Rule = tuple[str, ...]
"""What follows `-A CHAIN` on a command line of iptables."""

INBOUND_CHAIN = "TULLE_REDIRECT"
OUTBOUND_CHAIN = "TULLE_OUTPUT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interception:
    """What to intercept and what to leave alone."""

    inbound_port: int = 4143
    outbound_port: int = 4140
    admin_port: int = 4191
    """Reached from outside without the proxy in between: whoever probes it is not part of the mesh."""
    proxy_uid: int | None = None
    proxy_gid: int | None = None
    proxy_mark: int | None = None
    """SO_MARK of the proxy's own sockets."""
    ports_to_redirect: tuple[Ports, ...] = ()
    """Inbound ports to intercept; none named means all."""
    inbound_ignored: tuple[Ports, ...] = ()
    outbound_ignored: tuple[Ports, ...] = ()
    subnets_ignored: tuple[IPv4Network | IPv6Network, ...] = ()
    """Sources whose connections are not intercepted; acts on inbound connections only."""


def inbound(settings: Interception, family: Family) -> Iterator[Rule]:
    """The rules of INBOUND_CHAIN, which PREROUTING jumps to."""
    always = (Ports(settings.admin_port, settings.admin_port),)
    for piece in chunks(always + settings.inbound_ignored):
        yield _rule("ignore-port", "RETURN", *_dports(piece))
    for subnet in settings.subnets_ignored:
        if subnet.version == family:
            yield _rule("ignore-subnet", "RETURN", "-s", str(subnet))
    to_proxy = ("--to-port", str(settings.inbound_port))
    for piece in chunks(settings.ports_to_redirect):
        yield _rule("redirect-port-to-proxy", "REDIRECT", *_dports(piece)) + to_proxy
    if not settings.ports_to_redirect:
        yield _rule("redirect-all-to-proxy", "REDIRECT", "-p", "tcp") + to_proxy


def outbound(settings: Interception) -> Iterator[Rule]:
    """The rules of OUTBOUND_CHAIN, which OUTPUT jumps to; the same for IPv4 and IPv6."""
    if settings.proxy_uid is not None:
        owner = ("-m", "owner", "--uid-owner", str(settings.proxy_uid))
        yield _rule("ignore-proxy-uid", "RETURN", *owner)
    if settings.proxy_gid is not None:
        owner = ("-m", "owner", "--gid-owner", str(settings.proxy_gid))
        yield _rule("ignore-proxy-gid", "RETURN", *owner)
    if settings.proxy_mark is not None:
        mark = ("-m", "mark", "--mark", hex(settings.proxy_mark))
        yield _rule("ignore-proxy-mark", "RETURN", *mark)
    yield _rule("ignore-loopback", "RETURN", "-o", "lo")
    for piece in chunks(settings.outbound_ignored):
        yield _rule("ignore-port", "RETURN", *_dports(piece))
    to_proxy = ("--to-port", str(settings.outbound_port))
    yield _rule("redirect-all-to-proxy", "REDIRECT", "-p", "tcp") + to_proxy


# Where connections enter our chains: (netfilter's chain, ours).
JUMPS = (("PREROUTING", INBOUND_CHAIN), ("OUTPUT", OUTBOUND_CHAIN))


def jump(chain: str) -> Rule:
    """The rule with which netfilter's own chain hands connections over to `chain`."""
    name = "install-redirect" if chain == INBOUND_CHAIN else "install-output"
    return _rule(name, chain)


def _rule(name: str, target: str, *match: str) -> Rule:
    return (*match, "-m", "comment", "--comment", f"tulle/{name}", "-j", target)


def _dports(ports: tuple[Ports, ...]) -> Rule:
    return ("-p", "tcp", "-m", "multiport", "--dports", ",".join(p.match for p in ports))
