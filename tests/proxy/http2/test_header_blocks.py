"""HPACK: our reader and writer against the `hpack` library's, and at the edges of RFC 7541."""

from collections.abc import Sequence

import pytest
from hpack import Decoder, Encoder
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.codec import header_blocks
from proxy.codec.frames import Code, ConnectionBroken
from proxy.codec.header_blocks import LIST_LIMIT, NO_TABLE, BlockReader, write_block
from proxy.codec.heads import Headers

# Few names and values, so that indexing has something to find; and any bytes, so that it finds them all.
NAMES = st.sampled_from([name for name, _ in header_blocks._STATIC] + [b"x-a", b"x-b", b""])
VALUES = st.sampled_from([value for _, value in header_blocks._STATIC] + [b"one", b"two" * 40])
FIELDS = st.tuples(NAMES | st.binary(max_size=20), VALUES | st.binary(max_size=300))
LISTS = st.lists(FIELDS, max_size=12)


def read(block: bytes) -> Headers:
    return BlockReader().read(block)[0]


@given(st.lists(st.tuples(LISTS, st.booleans(), st.none() | st.integers(0, 4096)), max_size=8))
def test_we_read_what_others_write(blocks: Sequence[tuple[Headers, bool, int | None]]) -> None:
    encoder, reader = Encoder(), BlockReader()
    for fields, huffman, table_size in blocks:
        if table_size is not None:
            encoder.header_table_size = table_size
        block = encoder.encode(fields, huffman=huffman)

        read_fields, size = reader.read(block)

        assert read_fields == fields
        assert size == sum(len(name) + len(value) + 32 for name, value in fields)


@given(st.lists(LISTS, max_size=8))
def test_others_read_what_we_write(blocks: list[Headers]) -> None:
    decoder = Decoder(max_header_list_size=2**20)
    for fields in blocks:
        assert [tuple(f) for f in decoder.decode(write_block(fields), raw=True)] == fields


@given(LISTS, LISTS)
def test_others_read_what_we_write_when_they_allow_no_table(
    before: Headers, after: Headers
) -> None:
    decoder = Decoder(max_header_list_size=2**20)
    decoder.decode(write_block(before), raw=True)
    decoder.max_allowed_table_size = 0

    fields = decoder.decode(NO_TABLE + write_block(after), raw=True)

    assert [tuple(field) for field in fields] == after


@given(FIELDS.filter(lambda field: bool(field[1])))
def test_what_is_secret_is_never_to_be_indexed(field: tuple[bytes, bytes]) -> None:
    for name in (b"authorization", b"cookie", b"proxy-authorization", b"set-cookie"):
        # RFC 7541 §6.2.3: 0001….
        assert write_block([(name, field[1])])[0] & 0xF0 == 0x10


@given(st.binary(max_size=80))
@example(b"\x80")
@example(b"\xff\xff\xff\xff\xff\xff\xff\x7f")
@example(b"\x3f\xe1\xff\xff\xff\x0f")
def test_any_bytes_are_fields_or_break_the_connection(block: bytes) -> None:
    decoder = Decoder(max_header_list_size=2**20)
    try:
        fields, _ = BlockReader().read(block)
    except ConnectionBroken:
        pass
    else:
        # What we understand is what it means.
        assert [tuple(field) for field in decoder.decode(block, raw=True)] == fields


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (b"\x80", "index 0"),
        (b"\xbe", "index 62 of an empty table"),
        (b"\xff\x80\x80\x80\x80\x80\x01", "an integer that goes on and on"),
        (b"\x00\x7f\xff\xff\xff\xff\xff\x01a", "a length beyond any block"),
        (b"\x00\x05abc", "a string that is cut off"),
        (b"\x00\x01a", "no value"),
        (b"\x40", "nothing after the first byte"),
        (b"\x82\x20", "a size update after a field"),
        (b"\x3f\xe2\x1f", "a table of 4097 bytes"),
        (b"\x00\x82\xff\xff\x01b", "Huffman padding of more than seven bits"),
        (b"\x00\x81\x00\x01b", "Huffman padding of zeros"),
        (b"\x00\x84\xff\xff\xff\xff\x01b", "Huffman's end of string"),
    ],
)
def test_a_block_that_is_none_breaks_the_connection(block: bytes, why: str) -> None:
    with pytest.raises(ConnectionBroken) as raised:
        read(block)

    assert raised.value.code is Code.COMPRESSION_ERROR, why


@given(st.integers(0, 2**21), st.sampled_from([0x0F, 0x1F, 0x3F, 0x7F]))
@example(0x7F + 127, 0x7F)
@example(0x7E, 0x7F)
@example(0x7F, 0x7F)
def test_an_integer_is_read_as_it_was_written(value: int, mask: int) -> None:
    written = header_blocks._write_integer(value, mask, 0)

    assert header_blocks._integer(written + b"rest", 0, mask) == (value, len(written))


@pytest.mark.parametrize("length", [0, 1, 126, 127, 128, 254, 255, 16_383, 16_384, 60_000])
@pytest.mark.parametrize("huffman", [False, True])
def test_strings_of_any_length_are_read(length: int, huffman: bool) -> None:
    fields = [(b"x", b"v" * length)]

    assert read(Encoder().encode(fields, huffman=huffman)) == fields
    assert read(write_block(fields)) == fields


def test_a_list_that_is_too_large_is_read_to_its_end_but_not_kept() -> None:
    reader, encoder = BlockReader(), Encoder()
    block = encoder.encode([(b"x-large", b"v" * 4000)] * 20 + [(b"x-last", b"indexed")])

    fields, size = reader.read(block)

    assert size > LIST_LIMIT
    assert sum(len(name) + len(value) + 32 for name, value in fields) <= LIST_LIMIT
    # The tables of both sides still agree.
    assert reader.read(encoder.encode([(b"x-last", b"indexed")]))[0] == [(b"x-last", b"indexed")]


def test_a_bomb_breaks_the_connection_before_it_goes_off() -> None:
    reader, encoder = BlockReader(), Encoder()
    reader.read(encoder.encode([(b"x", b"v" * 4000)]))

    with pytest.raises(ConnectionBroken) as raised:
        reader.read(b"\xbe" * 10_000)

    assert raised.value.code is Code.ENHANCE_YOUR_CALM


@given(LISTS, LISTS)
def test_a_reader_knows_whether_a_block_changed_its_table(first: Headers, again: Headers) -> None:
    encoder, reader = Encoder(), BlockReader()
    reader.read(encoder.encode(first))
    version = reader.version

    reader.read(encoder.encode(again))

    assert (reader.version != version) or not reader.added


def test_what_was_written_before_is_remembered_within_bounds() -> None:
    for number in range(3 * header_blocks._MEMO_LIMIT):
        write_block([(b"x-id", b"%d" % number), (b"x-long", b"%d" % number * 200)])

    assert len(header_blocks._encoded) <= header_blocks._MEMO_LIMIT
    assert all(
        len(encoded) <= header_blocks._MEMO_BYTES for encoded in header_blocks._encoded.values()
    )


@given(st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=5))
def test_what_huffman_strings_meant_before_is_remembered_rightly(texts: list[bytes]) -> None:
    for text in texts * 2:
        assert read(Encoder().encode([(b"a", text)], huffman=True)) == [(b"a", text)]
