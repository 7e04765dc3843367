"""Law: what is remembered of header blocks never changes what they mean."""

import asyncio
from typing import Any

import pytest
from hpack import Encoder
from hpack.hpack import Decoder
from hypothesis import given
from hypothesis import strategies as st

from proxy.codec.heads import Headers
from proxy.session.http2_connection import Heads, Http2Connection
from proxy.session.memo import Memo
from proxy.transport.sweep import Sweep
from tests.support.streams import MemoryStream

pytestmark = pytest.mark.anyio

NAMES = st.sampled_from([b"date", b"server", b"x-a", b"x-b", b"content-type"])
VALUES = st.sampled_from([b"1", b"2", b"abc" * 20, b"z" * 900])
LISTS = st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=5)


def indexed_anew(fields: Headers) -> bytes:
    """A block of literals that are all added to the table, as nginx sends them."""
    return b"".join(b"\x40" + bytes((len(name),)) + name + _string(value) for name, value in fields)


def _string(text: bytes) -> bytes:
    if len(text) < 127:
        return bytes((len(text),)) + text
    rest = len(text) - 127
    return (
        b"\x7f" + (bytes((rest,)) if rest < 128 else bytes((rest & 0x7F | 0x80, rest >> 7))) + text
    )


async def new_connection() -> Http2Connection[Any]:
    return Http2Connection(MemoryStream(), Sweep())


@given(st.lists(st.tuples(LISTS, st.sampled_from(["encoder", "anew", "resize"])), max_size=30))
def test_a_remembered_block_means_what_it_would_mean_read_anew(
    story: list[tuple[Headers, str]],
) -> None:
    loop = asyncio.new_event_loop()
    connection = loop.run_until_complete(new_connection())
    memo: Heads[Headers] = Memo()
    encoder, oracle = Encoder(), Decoder()

    for fields, how in story:
        if how == "anew":
            # What others add to the table moves all that the encoder knows of it.
            block = indexed_anew(fields)
            for field in fields:
                encoder.header_table.add(*field)
        else:
            if how == "resize":
                encoder.header_table_size = len(fields) * 500
            block = encoder.encode(fields)
        expected = [tuple(field) for field in oracle.decode(block, raw=True)]
        meant = connection.known(memo, block, True)
        if meant is None:
            meant, size = connection.read_block(block)
            connection.remember(memo, block, True, meant, size)
        assert meant == expected == fields
    loop.close()
