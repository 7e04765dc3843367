"""The client session and a server that is `h2`'s, in any order of events."""

from h2.events import RequestReceived
from hypothesis import strategies as st
from hypothesis.stateful import rule

from proxy.codec.heads import UNKNOWN, Headers, RequestHead
from proxy.session.exchange import Exchange
from proxy.session.http2_client import Http2Client
from tests.support.effort import effort
from tests.support.http2_machine import LARGE, PICK, Http2Machine, Lane
from tests.support.http2_world import OK, Caller


class ClientMachine(Http2Machine):
    """Our client; exchanges begin with the machine."""

    serves = False

    def begin(self) -> None:
        self._next = 1
        self.client = self.session = Http2Client(self.wire, self.loop.sweep, lambda client: None)

    def opened(self, event: RequestReceived) -> None:
        assert event.stream_id is not None
        self.lanes[event.stream_id].known = True

    # Rules.

    @rule(large=st.booleans(), end=st.booleans(), early=st.sampled_from([0, 100, 90_000]))
    def we_open(self, large: bool, end: bool, early: int) -> None:
        """A request; `early`: as much of its body came before the connection was there."""
        if not self.client.usable or len(self.lanes) > 50:
            return
        number, self._next = self._next, self._next + 2
        caller = Caller()
        head = RequestHead(b"POST", b"/", b"a", [LARGE] if large else [], body=UNKNOWN)
        exchange = Exchange(head, caller, self.loop.time())
        lane = self.lanes[number] = Lane(number, caller, exchange)
        lane.started = True
        self.ended.watch(exchange)
        if early:
            exchange.request_data(lane.to_peer.take(early))
        if end:
            lane.to_peer.ended = True
            exchange.request_end([])
        self.client.carry(exchange)

    @rule(pick=PICK, large=st.booleans(), interim=st.booleans(), end=st.booleans())
    def peer_responds(self, pick: int, large: bool, interim: bool, end: bool) -> None:
        lanes = [
            lane
            for lane in self.lanes.values()
            if not lane.over and not lane.answered and lane.known
        ]
        lane = self.pick(pick, lanes)
        if lane is not None:
            if interim:
                self.peer.send_headers(lane.number, [(b":status", b"103"), (b"x-hint", b"a")])
            self.answer(lane, [LARGE] if large else [], end=end)

    @rule(most=st.sampled_from([0, 1, 3, 100]))
    def peer_limits_streams(self, most: int) -> None:
        self.change({3: most})

    def answer(self, lane: Lane, headers: Headers, *, end: bool) -> None:
        lane.answered = True
        lane.to_us.ended = end
        self.peer.send_headers(lane.number, [*OK, *headers], end_stream=end)

    # For what is common.

    def send_ours(self, lane: Lane, data: bytes, *, end: bool) -> None:
        assert lane.exchange is not None
        lane.exchange.request_data(data, end)

    def end_ours(self, lane: Lane, trailers: Headers) -> None:
        assert lane.exchange is not None
        lane.exchange.request_end(trailers)

    def hold_ours(self, lane: Lane, held: bool) -> None:
        assert lane.exchange is not None
        lane.exchange.hold_response(held)

    def give_up_ours(self, lane: Lane) -> None:
        assert lane.exchange is not None
        lane.exchange.request_lost()

    def start_ours(self, lane: Lane) -> None:
        raise AssertionError("it has begun with its request")

    def start_peer(self, lane: Lane) -> None:
        if lane.known:
            self.answer(lane, [], end=False)

    def unfinished(self):  # type: ignore[no-untyped-def]
        for lane in super().unfinished():
            # The response was complete before the request: nobody reads the rest.
            if not (lane.to_us.arrived and self.is_done(lane)):
                yield lane


ClientMachine.TestCase.settings = effort(60, steps=60)
TestClient = ClientMachine.TestCase
