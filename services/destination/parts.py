"""Large slices cut into parts, so that one endpoint's change costs one small document.

An endpoint's part follows from a hash of its address and from how many share that hash's beginning, not
from its place in a list: when one comes or goes, the others stay where they are. A part splits in two
when it outgrows the limit.
"""

from collections.abc import Iterator
from hashlib import blake2b

from common.contract.discovery import SLICE_LIMIT
from services.destination.resources import SliceEndpoint

MARK = "~"
"""Between a slice's name and the part's; no Kubernetes name contains it."""
Endpoints = tuple[SliceEndpoint, ...]


def split(name: str, endpoints: Endpoints, limit: int = SLICE_LIMIT) -> dict[str, Endpoints]:
    """The parts of a slice by name, each of at most `limit` endpoints, in the order of their addresses.

    An address that is there several times counts once (the last). A slice within the limit is one part
    with its own name, even if it is empty.
    """
    unique = {endpoint.address: endpoint for endpoint in endpoints}
    if len(unique) <= limit:
        return {name: tuple(unique[address] for address in sorted(unique))}
    placed = [(_bits(address), unique[address]) for address in sorted(unique)]
    return {f"{name}{MARK}{bits}": part for bits, part in _halves("", placed, limit) if part}


def _halves(
    prefix: str, placed: list[tuple[str, SliceEndpoint]], limit: int
) -> Iterator[tuple[str, Endpoints]]:
    if len(placed) <= limit:
        yield prefix, tuple(endpoint for _, endpoint in placed)
        return
    depth = len(prefix)
    for bit in "01":
        yield from _halves(prefix + bit, [p for p in placed if p[0][depth] == bit], limit)


def _bits(address: str) -> str:
    digest = blake2b(address.encode(), digest_size=16).digest()
    return f"{int.from_bytes(digest, 'big'):0128b}"
