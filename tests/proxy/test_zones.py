"""Hints for zones: when they are heeded, and when not."""

import pytest

from common.contract.discovery import Endpoint
from proxy.decide.zones import nearby


def endpoint(name: str, *zones: str, ready: bool = True) -> Endpoint:
    return Endpoint(address=name, ports={}, for_zones=zones, ready=ready)


A, B, AB = endpoint("a", "a"), endpoint("b", "b"), endpoint("ab", "a", "b")
BARE, BARE_GONE = endpoint("bare"), endpoint("bare-gone", ready=False)
A_GONE = endpoint("a-gone", "a", ready=False)


@pytest.mark.parametrize(
    ("endpoints", "zone", "near"),
    [
        ([A, B, AB], "a", ["a", "ab"]),
        ([A, B, AB], "b", ["b", "ab"]),
        ([A, B, AB], "", ["a", "b", "ab"]),
        ([A, B], "c", ["a", "b"]),
        ([A, B, BARE], "a", ["a", "b", "bare"]),
        ([A, B, BARE_GONE], "a", ["a"]),
        ([A_GONE, B], "a", ["a-gone", "b"]),
        ([A, A_GONE, B], "a", ["a", "a-gone"]),
        ([A_GONE], "a", ["a-gone"]),
        ([], "a", []),
    ],
)
def test_which_endpoints_are_near(endpoints: list[Endpoint], zone: str, near: list[str]) -> None:
    found, others = nearby(endpoints, zone)

    assert [e.address for e in found] == near
    assert {e.address for e in (*found, *others)} == {e.address for e in endpoints}
    assert len(found) + len(others) == len(endpoints)
