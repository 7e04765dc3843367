"""`python -m proxy.redirect`: sends a workload's connections to the proxy beside it.

Runs once in the network namespace of the workload (an init container, say) and leaves only netfilter
rules behind; a second run replaces the first one's. Everything is a flag: `--help` lists them.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

from common.errors import InvalidSettings
from proxy.redirect.firewall import MODES, FirewallUnavailable, find, names
from proxy.redirect.ports import Ports, parse_ports
from proxy.redirect.program import install, listing, readable, remove
from proxy.redirect.rules import Family, Interception


def main(argv: Sequence[str] | None = None) -> int:
    """Run with these arguments; returns the exit status: 0 done, 1 could not, 2 wrongly asked."""
    parser = _parser()
    flags = parser.parse_args(argv)
    try:
        settings = _settings(flags)
    except InvalidSettings as error:
        sys.stderr.write(f"{error}\n")
        return 2
    modes = MODES if flags.mode == "auto" else (flags.mode,)
    try:
        for family in _families(flags.ipv6):
            _program(family, settings, modes, flags)
    except FirewallUnavailable as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _program(
    family: Family, settings: Interception, modes: tuple[Any, ...], flags: argparse.Namespace
) -> None:
    if flags.simulate:
        commands = install(settings, family)
        if flags.remove:
            commands = remove(listing(commands))
        for line in readable(names(family, modes[0])[0], commands):
            sys.stdout.write(line + "\n")
        return
    firewall = find(family, modes)
    present = firewall.rules()
    firewall.apply(remove(present) if flags.remove else install(settings, family, present))


def _families(ipv6: bool) -> Iterator[Family]:
    yield 4
    # A kernel without IPv6 has nothing to intercept there.
    if ipv6 and Path("/proc/net/if_inet6").exists():
        yield 6


def _settings(flags: argparse.Namespace) -> Interception:
    """All flags as one value; raises InvalidSettings that lists every mistake, one a line."""
    mistakes: list[str] = []

    def read(flag: str, parse: Callable[[str], Any]) -> Any:
        try:
            return parse(getattr(flags, flag.replace("-", "_")))
        except InvalidSettings as error:
            mistakes.append(f"--{flag}: {error}")

    values = {
        "inbound_port": read("incoming-proxy-port", _port),
        "outbound_port": read("outgoing-proxy-port", _port),
        "admin_port": read("admin-port", _port),
        "proxy_uid": read("proxy-uid", _number),
        "proxy_gid": read("proxy-gid", _number),
        "proxy_mark": read("proxy-mark", _mark),
        "ports_to_redirect": read("ports-to-redirect", parse_ports),
        "inbound_ignored": read("inbound-ports-to-ignore", parse_ports),
        "outbound_ignored": read("outbound-ports-to-ignore", parse_ports),
        "subnets_ignored": read("subnets-to-ignore", _subnets),
    }
    exempt = (values["proxy_uid"], values["proxy_gid"], values["proxy_mark"])
    if not mistakes and not flags.remove and exempt == (None, None, None):
        mistakes.append(
            "one of --proxy-uid, --proxy-gid, --proxy-mark: expected, or else the proxy's own"
            " connections would come back to it for ever"
        )
    if mistakes:
        raise InvalidSettings("\n".join(mistakes))
    return Interception(**values)


def _port(text: str) -> int:
    ports = parse_ports(text)
    match ports:
        case (Ports(first=first, last=last),) if first == last:
            return first
    raise InvalidSettings(f"{text!r}: expected one port")


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        number = int(text, 0)
    except ValueError:
        number = -1
    if not 0 <= number < 1 << 32:
        raise InvalidSettings(f"{text!r}: expected a number from 0 to 4294967295, or hex like 0x7")
    return number


def _mark(text: str | None) -> int | None:
    if _number(text) == 0:
        raise InvalidSettings("0: expected a mark other than 0, which every ordinary socket has")
    return _number(text)


def _subnets(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    found: list[IPv4Network | IPv6Network] = []
    mistakes: list[str] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            found.append(ip_network(part))
        except ValueError as error:
            mistakes.append(str(error))
    if mistakes:
        raise InvalidSettings("; ".join(mistakes))
    return tuple(found)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m proxy.redirect",
        description="Send the connections of this network namespace to the proxy in it.",
        epilog="Ports are written as 80 or 8000-8100, several with commas between.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    flag = parser.add_argument
    flag("--incoming-proxy-port", default="4143", metavar="PORT", help="the proxy's inbound port")
    flag("--outgoing-proxy-port", default="4140", metavar="PORT", help="the proxy's outbound port")
    flag("--admin-port", default="4191", metavar="PORT", help="the proxy's admin port, left alone")
    flag("--proxy-uid", metavar="UID", help="what this user sends is not intercepted")
    flag("--proxy-gid", metavar="GID", help="what this group sends is not intercepted")
    flag(
        "--proxy-mark",
        metavar="MARK",
        help="what sockets with this SO_MARK send is not intercepted",
    )
    flag(
        "--ports-to-redirect",
        default="",
        metavar="PORTS",
        help="intercept only these inbound ports",
    )
    flag(
        "--inbound-ports-to-ignore", default="4567,4568", metavar="PORTS", help="never intercepted"
    )
    flag(
        "--outbound-ports-to-ignore", default="4567,4568", metavar="PORTS", help="never intercepted"
    )
    flag("--subnets-to-ignore", default="", metavar="CIDRS", help="inbound sources not intercepted")
    flag("--ipv6", default=True, action=argparse.BooleanOptionalAction, help="intercept IPv6 too")
    flag("--mode", default="auto", choices=("auto", *MODES), help="auto tries nft, plain, legacy")
    flag("--simulate", action="store_true", help="print the commands and change nothing")
    flag("--remove", action="store_true", help="take away what an earlier run installed")
    return parser


if __name__ == "__main__":
    sys.exit(main())
