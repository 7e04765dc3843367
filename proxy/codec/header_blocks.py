"""HPACK (RFC 7541): header blocks to fields and back, quickly.

Reading: tables and Huffman are the `hpack` library's. A block that refers to nothing in the table always
means the same, and one that does means the same until the table changes; so what it meant is remembered,
and traffic that repeats itself costs one look-up.

Writing: no dynamic table at all. Each field is a static index or a literal without indexing, which
depends on nothing and can be remembered for all connections. Blocks are longer than they could be; on
the way to a neighbour that costs less than keeping tables does.
"""

from collections import deque
from typing import TypeVar

from hpack.exceptions import HPACKError
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

from proxy.codec.frames import Code, ConnectionBroken
from proxy.codec.heads import Headers, Trailers

LIST_LIMIT = 64 * 1024
"""Size of a header list as RFC 9113 §6.5.2 counts it: names, values, and 32 bytes for each field."""
TABLE_SIZE = 4096
"""The dynamic table that we let a peer use; and what a peer lets us use until it says otherwise."""
NO_TABLE = b"\x20"
"""At the start of a block: no dynamic table is used from here on (§6.3)."""
_FIELD_OVERHEAD = 32
_MEMO_LIMIT = 4096
_MEMO_BYTES = 256

# RFC 7541 §7.1.3: what an attacker could guess by its compressed size must never be indexed.
_SENSITIVE = frozenset((b"authorization", b"cookie", b"proxy-authorization", b"set-cookie"))
_STATIC = HeaderTable.STATIC_TABLE
_STATIC_FIELDS = {
    field: bytes((0x80 | index,)) for index, field in enumerate(_STATIC, 1) if field[1]
}
_STATIC_NAMES = {name: index for index, (name, _) in reversed(list(enumerate(_STATIC, 1)))}
_encoded: dict[tuple[bytes, bytes], bytes] = {}
_huffman: dict[bytes, bytes] = {}


class BlockReader:
    """Reads the header blocks of one connection, in order.

    What a block adds to the table is kept aside until a block needs the table; of many additions only as
    many matter as the table can hold. So a block that was remembered can be passed over cheaply.
    """

    __slots__ = ("_late", "_table", "added", "constant", "version")

    def __init__(self) -> None:
        self._table = HeaderTable()
        self._table.maxsize = TABLE_SIZE
        self._late: deque[tuple[bytes, bytes]] = deque(maxlen=TABLE_SIZE // _FIELD_OVERHEAD)
        self.version = 0
        """Grows whenever the table changes."""
        self.constant = True
        """The last block means the same whatever the table holds."""
        self.added: Headers = []
        """What the last block added to the table."""

    def read(self, block: bytes) -> tuple[Headers, int]:
        """The fields of a block, and their size; raises ConnectionBroken (COMPRESSION_ERROR).

        A list that outgrows LIST_LIMIT is read to its end, for the table's sake, but not kept: its
        size tells. One that is absurdly long breaks the connection.
        """
        self.constant = True
        self.added = []
        try:
            return self._read(block)
        except (HPACKError, IndexError):
            raise ConnectionBroken(Code.COMPRESSION_ERROR, "header-block") from None

    def repeat(self, added: Headers) -> None:
        """A constant block came again: the table gets what it `added`."""
        self._late.extend(added)
        self.version += 1

    def _read(self, block: bytes) -> tuple[Headers, int]:
        fields: Headers = []
        at, end, size = 0, len(block), 0
        while at < end:
            byte = block[at]
            if byte & 0x80:
                if 0x80 < byte <= 0x80 + len(_STATIC):
                    at += 1
                    field = _STATIC[byte - 0x81]
                else:
                    index, at = _integer(block, at, 0x7F)
                    field = self._entry(index)
            elif byte & 0x40:
                name, value, at = self._literal(block, at, 0x3F)
                field = (name, value)
                self._late.append(field)
                self.added.append(field)
                self.version += 1
            elif byte & 0x20:
                if size:
                    raise HPACKError("size update after the first field")
                newest, at = _integer(block, at, 0x1F)
                if newest > TABLE_SIZE:
                    raise HPACKError("table larger than allowed")
                self._resize(newest)
                continue
            else:
                name, value, at = self._literal(block, at, 0x0F)
                field = (name, value)
            size += len(field[0]) + len(field[1]) + _FIELD_OVERHEAD
            if size <= LIST_LIMIT:
                fields.append(field)
            elif size > 4 * LIST_LIMIT:
                raise ConnectionBroken(Code.ENHANCE_YOUR_CALM, "header-list-size")
        return fields, size

    def _literal(self, block: bytes, at: int, mask: int) -> tuple[bytes, bytes, int]:
        index, at = _integer(block, at, mask)
        if not index:
            name, at = _string(block, at)
        elif index <= len(_STATIC):
            name = _STATIC[index - 1][0]
        else:
            name = self._entry(index)[0]
        value, at = _string(block, at)
        return name, value, at

    def _entry(self, index: int) -> tuple[bytes, bytes]:
        """An entry of the dynamic table; raises HPACKError."""
        self.constant = False
        self._catch_up()
        return self._table.get_by_index(index)

    def _resize(self, size: int) -> None:
        self.constant = False
        self._catch_up()
        self._table.maxsize = size
        self.version += 1

    def _catch_up(self) -> None:
        for name, value in self._late:
            self._table.add(name, value)
        self._late.clear()


def write_block(fields: Headers) -> bytes:
    """A header block that any reader understands whatever came before it."""
    known = _encoded.get
    return b"".join([known(field) or _encode(field) for field in fields])


def write_trailers(trailers: Headers) -> bytes:
    """The same; remembered by trailers that were read from a block."""
    if not isinstance(trailers, Trailers):
        return write_block(trailers)
    block = trailers.block
    if block is None:
        block = trailers.block = write_block(trailers)
    return block


def _encode(field: tuple[bytes, bytes]) -> bytes:
    name, value = field
    encoded = _STATIC_FIELDS.get(field)
    if encoded is None:
        sensitive = name in _SENSITIVE
        kind = 0x10 if sensitive else 0x00
        index = _STATIC_NAMES.get(name)
        if index is None:
            encoded = bytes((kind,)) + _write_string(name) + _write_string(value)
        else:
            encoded = _write_integer(index, 0x0F, kind) + _write_string(value)
        if sensitive:
            return encoded
    if len(encoded) <= _MEMO_BYTES:
        remember(_encoded, field, encoded)
    return encoded


K = TypeVar("K")
V = TypeVar("V")


def remember(memo: dict[K, V], key: K, value: V) -> None:
    """Put into a bounded memo; a full one starts anew, which is cheaper than knowing what to drop."""
    if len(memo) >= _MEMO_LIMIT:
        memo.clear()
    memo[key] = value


def _integer(block: bytes, at: int, mask: int) -> tuple[int, int]:
    """RFC 7541 §5.1; more than four bytes of continuation is no length of anything here."""
    value = block[at] & mask
    at += 1
    if value < mask:
        return value, at
    for shift in (0, 7, 14, 21):
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise HPACKError("integer too long")


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    """RFC 7541 §5.2."""
    length = block[at]
    if length < 0x7F:
        at += 1
        end = at + length
        if end > len(block):
            raise HPACKError("string too long")
        return block[at:end], end
    coded = length & 0x80
    length, at = _integer(block, at, 0x7F)
    end = at + length
    if end > len(block):
        raise HPACKError("string too long")
    raw = block[at:end]
    if not coded:
        return raw, end
    text = _huffman.get(raw)
    if text is None:
        text = bytes(decode_huffman(raw))
        if len(raw) <= _MEMO_BYTES:
            remember(_huffman, raw, text)
    return text, end


def _write_integer(value: int, mask: int, kind: int) -> bytes:
    if value < mask:
        return bytes((kind | value,))
    out = bytearray((kind | mask,))
    value -= mask
    while value >= 0x80:
        out.append(0x80 | (value & 0x7F))
        value >>= 7
    out.append(value)
    return bytes(out)


def _write_string(text: bytes) -> bytes:
    return _write_integer(len(text), 0x7F, 0) + text
