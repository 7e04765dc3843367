"""Addresses, ports and networks as documents spell them, checked and brought into one spelling."""

import re
from ipaddress import ip_address, ip_network
from typing import TypeGuard

from common.names import check_label
from services.destination.fields import Field
from services.destination.resources import Family, Port

_DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)|0")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_CIDR = re.compile(r"[0-9a-fA-F.:]+/(0|[1-9][0-9]{0,2})")
_RANGE = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")


def namespace(root: Field) -> str:
    """The namespace of a document; `default` where none is named, as in Kubernetes."""
    return root["metadata"]["namespace"].name(check_label, "namespace", "default")


def ip(field: Field) -> str:
    """An IP address in its canonical spelling, so that one address is one text."""
    text = field.text(expected="an IP address")
    try:
        return str(ip_address(text))
    except ValueError:
        field.wrong("an IP address")
        return ""


def ips(fields: list[Field]) -> tuple[str, ...]:
    """Addresses, each once, in their order; absent ones and Kubernetes' word `None` are none."""
    present = [f for f in fields if not f.absent and f.value not in ("", "None")]
    return tuple(dict.fromkeys(address for f in present if (address := ip(f))))


def family(address: str) -> Family:
    """Whether a canonical address is IPv4 or IPv6."""
    return 6 if ":" in address else 4


def networks(field: Field) -> tuple[str, ...] | None:
    """CIDR blocks; None if the list is absent."""
    found = []
    for item in field.items():
        try:
            text = item.text(expected="a CIDR block")
            found.append(str(ip_network(text if _CIDR.fullmatch(text) else "")))
        except ValueError:
            item.wrong("a CIDR block such as 10.0.0.0/8")
    return None if field.absent else tuple(found)


def tcp_ports(field: Field) -> tuple[Port, ...]:
    """The TCP ports of a service or slice; one with no number (`null`: all ports) is left out."""
    return tuple(
        Port(
            port=item["port"].number(1, 65535),
            name=item["name"].name(check_label, "port", "") if item["name"].value else "",
            app_protocol=None
            if item["appProtocol"].absent
            else item["appProtocol"].text(expected="a protocol"),
        )
        for item in field.items()
        if item["protocol"].one_of(("TCP", "UDP", "SCTP"), "TCP") == "TCP"
        and not (item["port"].absent and "port" in _keys(item))
    )


def port_text(field: Field, default: int) -> int:
    """A port in an annotation, where every value is a text."""
    text = field.text(str(default), "a port in quotes")
    if text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535:
        return int(text)
    field.wrong("a port from 1 to 65535 in quotes")
    return default


def duration(field: Field, default: float) -> float:
    """Seconds of a whole number and a unit, such as `500ms` or `10s`; `0` needs no unit."""
    if field.absent:
        return default
    match = _DURATION.fullmatch(field.text())
    if match is None:
        field.wrong("a number and ms, s, m, h or d, such as '10s'")
        return default
    return int(match[1]) * _UNITS[match[2]] if match[1] else 0.0


def number_text(field: Field, low: float, high: float, default: float) -> float:
    """A number in an annotation, where every value is a text; whole or with decimals."""
    text = field.text(f"{default:g}", "a number in quotes")
    if _NUMBER.fullmatch(text) and low <= float(text) <= high:
        return float(text)
    field.wrong(f"a number from {low:g} to {high:g} in quotes")
    return default


def count_text(field: Field, most: int, default: int) -> int:
    """A whole number in an annotation."""
    text = field.text(str(default), "a number in quotes")
    if text.isascii() and text.isdigit() and len(text) <= 9 and int(text) <= most:
        return int(text)
    field.wrong(f"a whole number up to {most} in quotes")
    return default


def port_list(field: Field, named: dict[str, int]) -> frozenset[int] | None:
    """The annotation's list `25,3306,8000-8010,mysql`; `named` has the ports that it may name.

    None if the annotation is absent; an empty text is the empty list.
    """
    if field.absent:
        return None
    found: set[int] = set()
    for word in filter(None, (part.strip() for part in field.text().split(","))):
        span = _span(word, named)
        if span is None:
            field.wrong("ports such as '25,3306,8000-8010' or names of ports")
        else:
            found.update(span)
    return frozenset(found)


def ports_by_name(ports: tuple[Port, ...]) -> dict[str, int]:
    """Port numbers by name, of those that have one."""
    return {port.name: port.port for port in ports if port.name}


def container_ports(spec: Field) -> dict[str, int]:
    """The ports that a pod's containers name."""
    return {
        port["name"].text(): port["containerPort"].number(1, 65535)
        for container in spec["containers"].items()
        for port in container["ports"].items()
        if not port["name"].absent
    }


def is_number(value: object) -> TypeGuard[int | float]:
    """A number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _span(word: str, named: dict[str, int]) -> range | None:
    if match := _RANGE.fullmatch(word):
        low, high = int(match[1]), int(match[2] or match[1])
        return range(low, high + 1) if 1 <= low <= high <= 65535 else None
    return range(named[word], named[word] + 1) if word in named else None


def _keys(field: Field) -> dict[str, object]:
    return field.value if isinstance(field.value, dict) else {}
