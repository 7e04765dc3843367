"""Ports and ranges of ports, as people write them and as netfilter's multiport match takes them."""

from collections.abc import Iterator
from dataclasses import dataclass

from common.errors import InvalidSettings

# iptables-extensions(8), multiport: "Up to 15 ports can be specified. A port range counts as two."
MULTIPORT_SLOTS = 15


@dataclass(frozen=True, slots=True, order=True)
class Ports:
    """The ports from `first` to `last`, both included."""

    first: int
    last: int

    def __post_init__(self) -> None:
        if not 1 <= self.first <= self.last <= 65535:
            raise InvalidSettings(f"ports {self}: expected 1 ≤ first ≤ last ≤ 65535")

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"

    @property
    def slots(self) -> int:
        """How many of multiport's slots these take: a range takes two."""
        return 1 if self.first == self.last else 2

    @property
    def match(self) -> str:
        """As multiport's `--dports` takes them."""
        return str(self).replace("-", ":")


def parse_ports(text: str) -> tuple[Ports, ...]:
    """Read `N`, `N-M` or a comma-separated list of them; empty text is no ports.

    Raises InvalidSettings that names every part that is not one.
    """
    found: list[Ports] = []
    mistakes: list[str] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        first, dash, last = part.partition("-")
        try:
            if not (first.isascii() and first.isdigit()):
                raise ValueError
            if dash and not (last.isascii() and last.isdigit()):
                raise ValueError
            found.append(Ports(int(first), int(last if dash else first)))
        except (ValueError, InvalidSettings):
            mistakes.append(repr(part))
    if mistakes:
        raise InvalidSettings(
            f"{', '.join(mistakes)}: expected a port from 1 to 65535 or a range such as 8000-8100"
        )
    return tuple(found)


def chunks(ports: tuple[Ports, ...]) -> Iterator[tuple[Ports, ...]]:
    """Cut a list of ports into pieces that each fit one multiport match; order is kept."""
    piece: list[Ports] = []
    slots = 0
    for item in ports:
        if slots + item.slots > MULTIPORT_SLOTS:
            yield tuple(piece)
            piece, slots = [], 0
        piece.append(item)
        slots += item.slots
    if piece:
        yield tuple(piece)
