"""Heads that are remembered: never a wrong one, whatever blocks change the tables between them."""

import gc

from hpack import Encoder
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy.codec import http2
from proxy.codec.header_blocks import BlockReader
from proxy.codec.heads import Headers
from proxy.session import memo
from proxy.session.memo import Memo
from tests.support.effort import effort
from tests.support.http2_world import (
    GET,
    OK,
    POST,
    Caller,
    ClientTalk,
    ServerTalk,
    headers,
    world,
)

FIELDS = st.lists(
    st.tuples(st.sampled_from([b"x-a", b"x-b", b"x-c"]), st.sampled_from([b"1", b"2", b"3" * 900])),
    max_size=4,
)


class RepeatedBlocks(RuleBasedStateMachine):
    """Blocks that say little by themselves, in both directions, old ones among them."""

    def __init__(self) -> None:
        super().__init__()
        self._world = world()
        self.loop = self._world.__enter__()
        self.server = ServerTalk(self.loop)
        self.client = ClientTalk(self.loop)
        self.next_request, self.next_response = 1, 1
        # One reader for each direction, which remembers nothing.
        self.requests, self.responses = BlockReader(), BlockReader()
        self.request_encoder, self.response_encoder = Encoder(), Encoder()
        self.request_blocks: list[bytes] = []
        self.response_blocks: list[bytes] = []

    def teardown(self) -> None:
        self.server.wire.breaks()
        self.client.wire.breaks()
        self.loop.turn()
        self._world.__exit__(None, None, None)

    @rule(fields=FIELDS, end=st.booleans(), size=st.none() | st.sampled_from([0, 100, 4096]))
    def new_request(self, fields: Headers, end: bool, size: int | None) -> None:
        if size is not None:
            self.request_encoder.header_table_size = size
        block = self.request_encoder.encode([*(GET if end else POST), *fields])
        self.request_blocks.append(block)
        self._request(block, end)

    @precondition(lambda self: self.request_blocks)
    @rule(pick=st.integers(0, 1000), end=st.booleans())
    def old_request(self, pick: int, end: bool) -> None:
        # What its indices mean now is for the other reader to say: the encoder's tables are of no use more.
        self._request(self.request_blocks[pick % len(self.request_blocks)], end)

    def _request(self, block: bytes, end: bool) -> None:
        before = len(self.server.applications)
        self.server.hears(headers(self.next_request, block, end=end))
        self.next_request += 2
        try:
            fields, _ = self.requests.read(block)
        except Exception:
            assert self.server.wire.closed
            self._again()
            return
        try:
            expected = http2.read_request(fields, end=end)
        except http2.Malformed:
            assert len(self.server.applications) == before
            return
        exchange = self.server.applications[-1].exchange
        assert len(self.server.applications) == before + 1
        assert exchange.request.headers == expected.headers
        assert exchange.request.body == expected.body
        assert exchange.request_done == end
        exchange.server.break_off(2)
        self.server.says()

    def _again(self) -> None:
        self.server = ServerTalk(self.loop)
        self.requests, self.request_encoder = BlockReader(), Encoder()
        self.request_blocks.clear()
        self.next_request = 1

    @rule(fields=FIELDS, end=st.booleans(), method=st.sampled_from([b"GET", b"HEAD"]))
    def new_response(self, fields: Headers, end: bool, method: bytes) -> None:
        length = [] if end else [(b"content-length", b"7")]
        block = self.response_encoder.encode([*OK, *fields, *length])
        self.response_blocks.append(block)
        self._response(block, end, method)

    @precondition(lambda self: self.response_blocks)
    @rule(pick=st.integers(0, 1000), end=st.booleans(), method=st.sampled_from([b"GET", b"HEAD"]))
    def old_response(self, pick: int, end: bool, method: bytes) -> None:
        self._response(self.response_blocks[pick % len(self.response_blocks)], end, method)

    def _response(self, block: bytes, end: bool, method: bytes) -> None:
        caller: Caller = self.client.ask(method)
        exchange = self.client.exchange
        self.client.hears(headers(self.next_response, block, end=end))
        self.next_response += 2
        try:
            fields, _ = self.responses.read(block)
        except Exception:
            assert self.client.wire.closed
            self.client = ClientTalk(self.loop)
            self.responses, self.response_encoder = BlockReader(), Encoder()
            self.response_blocks.clear()
            self.next_response = 1
            return
        try:
            expected = http2.read_response(fields, end=end, method=method)
        except http2.Malformed:
            assert exchange.error is not None
            return
        assert caller.head is not None
        assert caller.head.headers == expected.headers
        assert caller.head.body == expected.body
        exchange.request_lost()

    @invariant()
    def what_is_remembered_is_bounded(self) -> None:
        assert 0 <= Memo.total <= memo.TOTAL_BYTES


RepeatedBlocks.TestCase.settings = effort(40)
TestRepeatedBlocks = RepeatedBlocks.TestCase


def test_a_few_bytes_that_stand_for_a_long_head_are_not_remembered() -> None:
    with world() as loop:
        talk = ServerTalk(loop)
        encoder = Encoder()
        talk.hears(headers(1, encoder.encode([*GET, (b"x", b"v" * 3500)]), end=True))
        before = Memo.total
        long = encoder.encode([*GET, *[(b"x", b"v" * 3500)] * 10])
        assert len(long) < 20

        for stream in (3, 5):
            talk.hears(headers(stream, long, end=True))

        assert [len(a.exchange.request.headers) for a in talk.applications] == [1, 10, 10]
        assert Memo.total == before
        talk.wire.breaks()
        loop.turn()


def test_heads_of_all_connections_together_are_bounded() -> None:
    memos: list[Memo[str]] = [Memo() for _ in range(100)]
    for number in range(50_000):
        memos[number % 100].put(b"%d" % number, True, "head", 4000)

        assert Memo.total <= memo.TOTAL_BYTES

    assert Memo.total > memo.TOTAL_BYTES // 2
    assert memos[0].get(b"0", True) == "head"
    assert memos[0].get(b"0", False) is None
    memos.clear()
    gc.collect()
    assert Memo.total < memo.TOTAL_BYTES // 2
