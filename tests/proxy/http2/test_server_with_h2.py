"""The server session and a client that is `h2`'s, in any order of events."""

from h2.events import RequestReceived
from hypothesis import strategies as st
from hypothesis.stateful import rule

from proxy.codec.heads import UNKNOWN, BadMessage, Headers, ResponseHead
from proxy.refusals import ResponseLost
from proxy.session.exchange import Exchange
from proxy.session.host import Server
from proxy.session.http2_server import Http2Server
from tests.support.effort import effort
from tests.support.http2_machine import LARGE, PICK, Http2Machine, Lane
from tests.support.http2_world import POST, Application


class ServerMachine(Http2Machine):
    """Our server; the host is the machine."""

    serves = True

    def begin(self) -> None:
        self._new: list[Exchange] = []
        self._next = 1
        self.session = Http2Server(self.wire, self, self.loop.sweep)
        self.session.start()

    # The Host.

    def serve(self, exchange: Exchange) -> None:
        self.ended.watch(exchange)
        number = exchange.server.id  # type: ignore[attr-defined]
        lane = self.lanes[number]
        lane.exchange, lane.ours.exchange = exchange, exchange  # type: ignore[union-attr]
        if number % 4 == 1:
            exchange.attach(lane.ours)  # type: ignore[arg-type]
        else:
            self._new.append(exchange)

    def rejected(self, error: BadMessage) -> None:
        raise AssertionError(error)

    def closed(self, server: Server, *, detached: bool) -> None:
        pass

    def tunnel_closed(self) -> None:
        pass

    def opened(self, event: RequestReceived) -> None:
        raise AssertionError("we ask nobody")

    # Rules.

    @rule(large=st.booleans(), end=st.booleans(), weight=st.none() | st.integers(1, 256))
    def peer_opens(self, large: bool, end: bool, weight: int | None) -> None:
        if self.peer.open_outbound_streams > 50:
            return
        number, self._next = self._next, self._next + 2
        fields = [*POST, (b"x-number", b"%d" % number), *([LARGE] if large else [])]
        lane = self.lanes[number] = Lane(number, Application(None), None)  # type: ignore[arg-type]
        lane.known, lane.to_us.ended = True, end
        self.peer.send_headers(number, fields, end_stream=end, priority_weight=weight)

    @rule()
    def application_is_there(self) -> None:
        """The connection to it took a while."""
        for exchange in self._new:
            if not exchange.done:
                exchange.attach(self.lanes[exchange.server.id].ours)  # type: ignore[attr-defined, arg-type]
        self._new.clear()
        self.look()

    @rule(pick=PICK, large=st.booleans(), interim=st.booleans())
    def we_respond(self, pick: int, large: bool, interim: bool) -> None:
        lanes = [lane for lane in self.live() if lane.exchange is not None and not lane.started]
        lane = self.pick(pick, lanes)
        if lane is not None and lane.exchange is not None:
            if interim:
                lane.interim = True
                lane.exchange.informational(ResponseHead(103, [(b"x-hint", b"a")]))
            self.respond(lane, [LARGE] if large else [])

    def respond(self, lane: Lane, headers: Headers) -> None:
        assert lane.exchange is not None
        lane.started = True
        lane.exchange.response(ResponseHead(200, headers, body=UNKNOWN), b"", False, 0.0)

    # For what is common.

    def send_ours(self, lane: Lane, data: bytes, *, end: bool) -> None:
        assert lane.exchange is not None
        lane.exchange.response_data(data, end)

    def end_ours(self, lane: Lane, trailers: Headers) -> None:
        assert lane.exchange is not None
        lane.exchange.response_end(trailers)

    def hold_ours(self, lane: Lane, held: bool) -> None:
        if lane.exchange is not None:
            lane.exchange.server.hold_request(held)

    def give_up_ours(self, lane: Lane) -> None:
        if lane.exchange is None:
            lane.over = False
            return
        lane.exchange.response_failed(ResponseLost("test"))
        if not lane.started:
            # Then it was answered with 502 instead.
            lane.over = lane.to_peer.ended = lane.to_us.ended = True

    def start_ours(self, lane: Lane) -> None:
        self.respond(lane, [])

    def settle(self) -> None:
        self.application_is_there()
        self.deliver_all()
        self.application_is_there()
        super().settle()

    def unfinished(self):  # type: ignore[no-untyped-def]
        for lane in super().unfinished():
            # The response was complete before the request: nobody reads the rest.
            if not (lane.to_peer.arrived and self.is_done(lane)):
                yield lane


ServerMachine.TestCase.settings = effort(40, steps=60)
TestServer = ServerMachine.TestCase
