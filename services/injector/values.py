"""Values of annotations: text in, value out; ValueError says what stood there and what was expected."""

import re
from collections.abc import Callable
from decimal import Decimal
from ipaddress import ip_network

_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?")
# Kubernetes' resource.Quantity without a sign.
_QUANTITY = re.compile(
    r"([0-9]{1,15}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]{1,2})?"
)
_DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_POWERS = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_LEVELS = {level: level for level in ("debug", "info", "warning", "error")} | {"warn": "warning"}
_HIGHEST_ID = 2**31 - 1


def wrong(text: str, expected: str) -> ValueError:
    """What stood there, and what was expected."""
    shown = text if len(text) <= 80 else text[:77] + "…"
    return ValueError(f"{shown!r}: expected {expected}")


def one_of(*words: str) -> Callable[[str], str]:
    """One of these words."""

    def read(text: str) -> str:
        if text not in words:
            raise wrong(text, " or ".join(words))
        return text

    return read


def switch(on: str, off: str) -> Callable[[str], bool]:
    """One of two words."""

    def read(text: str) -> bool:
        return one_of(on, off)(text) == on

    return read


def image(text: str) -> str:
    """The name of a container image."""
    if not _IMAGE.fullmatch(text):
        raise wrong(text, "an image such as registry.example.org/tulle-proxy")
    return text


def image_tag(text: str) -> str:
    """The tag of a container image."""
    if not _TAG.fullmatch(text):
        raise wrong(text, "an image's tag such as 0.1.0")
    return text


def port(text: str) -> int:
    """A port's number."""
    number = int(text) if _PORTS.fullmatch(text) and "-" not in text else 0
    if not 1 <= number <= 65535:
        raise wrong(text, "a port from 1 to 65535")
    return number


def ports(text: str) -> str:
    """Ports and ranges such as `25,8000-8010`; perhaps none."""
    for part in _parts(text):
        if not _is_ports(part):
            raise wrong(part, "ports such as 25,8000-8010")
    return ",".join(_parts(text))


def named_ports(text: str) -> str:
    """Ports, ranges, and names of ports."""
    for part in _parts(text):
        if not _is_ports(part) and not _PORT_NAME.fullmatch(part):
            raise wrong(part, "ports such as 25,8000-8010, or names of ports")
    return ",".join(_parts(text))


def subnets(text: str) -> str:
    """Networks such as `10.0.0.0/8,fd00::/8`; perhaps none."""
    for part in _parts(text):
        try:
            ip_network(part)
        except ValueError:
            raise wrong(part, "networks such as 10.0.0.0/8") from None
    return ",".join(_parts(text))


def quantity(text: str) -> str:
    """An amount as Kubernetes writes it, such as `100m` or `64Mi`."""
    if not _QUANTITY.fullmatch(text):
        raise wrong(text, "an amount such as 100m or 64Mi")
    return text


def amount(text: str) -> Decimal:
    """How much a quantity is."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise wrong(text, "an amount such as 100m or 64Mi")
    number, unit = Decimal(match[1]), match[2] or ""
    if unit.endswith("i"):
        return number * Decimal(1024) ** ("KMGTPE".index(unit[0]) + 1)
    # `E` alone is a unit, `E3` an exponent.
    power = _POWERS[unit] if unit in _POWERS else int(unit[1:] or 0)
    return number.scaleb(power)


def uid(text: str) -> int:
    """A user who is not root."""
    return _number(text, 1, "a user id from 1 to 2147483647")


def gid(text: str) -> int | None:
    """A group; `-1` is none."""
    return None if text == "-1" else _number(text, 1, "a group id from 1 to 2147483647, or -1")


def log_level(text: str) -> str:
    """How much is logged."""
    if text not in _LEVELS:
        raise wrong(text, "debug, info, warning or error")
    return _LEVELS[text]


def duration(least: float, most: float) -> Callable[[str], float]:
    """Seconds of `500ms`, `10s`, `2m` or `1h`, within bounds."""

    def read(text: str) -> float:
        match = _DURATION.fullmatch(text)
        seconds = int(match[1]) * _SECONDS[match[2]] if match else -1.0
        if not least <= seconds <= most:
            raise wrong(text, f"a duration such as 10s, from {least:g} to {most:g} seconds")
        return seconds

    return read


def count(most: int) -> Callable[[str], int]:
    """A whole number from 0."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) > most:
            raise wrong(text, f"a whole number from 0 to {most}")
        return int(text)

    return read


def _number(text: str, least: int, expected: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text) or not least <= int(text) <= _HIGHEST_ID:
        raise wrong(text, expected)
    return int(text)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _is_ports(part: str) -> bool:
    match = _PORTS.fullmatch(part)
    return match is not None and 1 <= int(match[1]) <= int(match[2] or match[1]) <= 65535
