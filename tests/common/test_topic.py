"""Messages: what is encoded can be read again, what cannot be read says where it broke."""

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.contract import subjects
from common.contract.discovery import Endpoint, EndpointSlice, Service
from common.contract.identity import CertifyRequest
from common.contract.topic import State, Topic
from common.errors import InvalidMessage

SLICES = Topic("tulle.v1.test", EndpointSlice)
EVERY_STATE = [
    subjects.address("10.0.0.1"),
    subjects.trust(),
    subjects.settings(),
]

endpoints = st.builds(
    Endpoint,
    address=st.text(),
    ports=st.dictionaries(st.text(), st.integers(1, 65535)),
    weight=st.integers(0, 1_000_000),
    ready=st.booleans(),
    proxy_port=st.none() | st.integers(1, 65535),
)
slices = st.builds(
    EndpointSlice,
    namespace=st.text(),
    service=st.text(),
    name=st.text(),
    endpoints=st.lists(endpoints, max_size=3).map(tuple),
    deleted=st.booleans(),
)


@given(slices)
def test_what_is_encoded_can_be_read_again(document: EndpointSlice) -> None:
    assert SLICES.decode(SLICES.encode(document)) == document


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ).map(msgspec.json.encode)
)
def test_whatever_arrives_is_read_or_an_invalid_message(payload: bytes) -> None:
    for topic in (SLICES, Topic("x", Service), Topic("x", CertifyRequest)):
        with suppress(InvalidMessage):
            assert isinstance(topic.decode(payload), topic.message)


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({"name": 7}, "$.name"),
        ({"endpoints": [{"address": "10.0.0.1", "ports": {"": 0}}]}, "$.endpoints[0].ports"),
        (
            {"endpoints": [{"address": "10.0.0.1", "ports": {}, "weight": -1}]},
            "$.endpoints[0].weight",
        ),
        ({"deleted": None}, "$.deleted"),
    ],
)
def test_the_path_of_the_offending_field_is_named(changed: dict[str, Any], path: str) -> None:
    document = {"namespace": "shop", "service": "web", "name": "a", **changed}

    with pytest.raises(InvalidMessage, match="not a EndpointSlice: ") as raised:
        SLICES.decode(msgspec.json.encode(document))
    assert path in str(raised.value)


def test_fields_that_are_not_known_yet_are_ignored() -> None:
    text = b'{"namespace": "shop", "name": "web", "colour": "blue"}'

    assert Topic("x", Service).decode(text) == Service(namespace="shop", name="web")


@pytest.mark.parametrize("state", EVERY_STATE, ids=lambda state: state.subject)
def test_state_is_written_where_it_is_not_heard(state: State[Any]) -> None:
    assert state.subject.startswith("tulle.v1.")
    assert state.written == "put.v1." + state.subject.removeprefix("tulle.v1.")


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_nesting_without_end_is_an_invalid_message(opening: bytes) -> None:
    with pytest.raises(InvalidMessage, match="recursion"):
        Topic("x", Service).decode(b'{"unknown": ' + opening * 100_000)
