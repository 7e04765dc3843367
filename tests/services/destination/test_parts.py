"""The law of parts: nothing lost, nothing doubled, nothing too large, and neighbours stay in place."""

from hypothesis import given
from hypothesis import strategies as st

from services.destination.parts import split
from services.destination.resources import SliceEndpoint

addresses = st.lists(
    st.integers(1, 250).map(lambda n: SliceEndpoint(address=f"10.0.0.{n}")), max_size=60
).map(tuple)


@given(addresses, st.integers(1, 20))
def test_parts_hold_every_address_once_and_none_is_too_large(
    endpoints: tuple[SliceEndpoint, ...], limit: int
) -> None:
    parts = split("web", endpoints, limit)

    held = [e.address for part in parts.values() for e in part]
    assert sorted(held) == sorted({e.address for e in endpoints})
    assert all(len(part) <= limit for part in parts.values())


@given(addresses.filter(len), st.integers(1, 20))
def test_the_order_of_endpoints_does_not_matter(
    endpoints: tuple[SliceEndpoint, ...], limit: int
) -> None:
    assert split("web", endpoints, limit) == split("web", endpoints[::-1], limit)


@given(addresses.filter(len), st.integers(1, 20))
def test_one_endpoint_less_changes_its_own_part_or_joins_it_with_its_neighbour(
    endpoints: tuple[SliceEndpoint, ...], limit: int
) -> None:
    gone = endpoints[0].address
    before = split("web", endpoints, limit)

    after = split("web", tuple(e for e in endpoints if e.address != gone), limit)

    changed = {name for name in before if before[name] != after.get(name)}
    assert len({e.address for name in changed for e in before[name]}) <= limit + 1


def test_a_slice_within_the_limit_keeps_its_name_even_if_empty() -> None:
    assert split("web", ()) == {"web": ()}
