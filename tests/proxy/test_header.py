"""The transport header: what is written is read, in any pieces; what is wrong is named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.transport import header
from proxy.transport.detect import Protocol
from proxy.transport.header import BadTransportHeader

ports = st.integers(1, 65535)
protocols = st.sampled_from(Protocol)


@given(ports, protocols, st.binary(max_size=20))
def test_what_is_written_is_read_whatever_follows(
    port: int, protocol: Protocol, more: bytes
) -> None:
    written = header.write(port, protocol)

    assert header.read(written + more) == (port, protocol, len(written))


@given(ports, protocols, st.binary(max_size=60))
def test_reserved_bytes_are_skipped_and_awaited(
    port: int, protocol: Protocol, reserved: bytes
) -> None:
    written = header.write(port, protocol)[:-2] + len(reserved).to_bytes(2, "big") + reserved

    for cut in range(len(written)):
        assert header.read(written[:cut]) is None
    assert header.read(written) == (port, protocol, len(written))


@given(st.binary(max_size=12), st.binary(max_size=12))
def test_no_bytes_do_more_harm_than_a_named_refusal_and_more_bytes_change_no_answer(
    data: bytes, more: bytes
) -> None:
    try:
        found = header.read(data)
    except BadTransportHeader:
        with pytest.raises(BadTransportHeader):
            header.read(data + more)
    else:
        if found is not None:
            assert header.read(data + more) == found


def test_the_bytes_are_those_that_are_documented() -> None:
    assert header.write(8080, Protocol.HTTP2) == b"\x01\x1f\x90\x02\x00\x00"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x02", "version 2: expected 1"),
        (b"GET / HTTP/1.1", "version 71"),
        (b"\x01\x00\x00\x01\x00\x00", "port 0: expected 1 to 65535"),
        (b"\x01\x00\x50\x03\x00\x00", "protocol 3: expected 0, 1 or 2"),
        (b"\x01\x00\x50\x01\x04\x01", "1025 reserved bytes: expected 1024 at most"),
    ],
)
def test_a_bad_header_is_refused_with_what_is_wrong(data: bytes, why: str) -> None:
    with pytest.raises(BadTransportHeader, match=why):
        header.read(data)
