"""Sessions and `h2`, a peer that somebody else wrote, in any order of events.

Laws: all bytes arrive once and in order; no window is exceeded, no frame comes where it may not (h2 raises);
when windows open, everything goes on to its end; every exchange ends exactly once; nothing is left behind.
"""

import sys
from collections.abc import Iterator
from typing import Any, ClassVar

from h2.events import (
    DataReceived,
    Event,
    InformationalResponseReceived,
    RequestReceived,
    ResponseReceived,
    SettingsAcknowledged,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.settings import SettingCodes
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from proxy.codec.heads import Headers
from proxy.session.exchange import Exchange
from proxy.session.http2_connection import Http2Connection
from tests.support.http2_world import Application, Caller, Ended, Loop, oracle, world
from tests.support.streams import MemoryStream

_PERIOD = 60_000
PATTERN = bytes((index * 7 + index // 251) & 0xFF for index in range(_PERIOD)) * 20
SIZES = st.sampled_from([0, 1, 100, 5000, 16_384, 16_385, 40_000, 70_000, 300_000])
PICK = st.integers(0, 10_000)
WINDOWS = st.sampled_from([1, 10, 1000, 16_384, 65_535, 200_000])
TRAILERS: Headers = [(b"trailer-field", b"a value"), (b"x-long", b"t" * 300)]
LARGE = (b"x-large", b"h" * 20_000)
_ROUNDS = 400


class Body:
    """One direction of a stream: what was sent, and how much of that has come."""

    def __init__(self, shift: int) -> None:
        self._shift = shift
        self.sent = self.got = 0
        self.ended = self.end_came = False
        self.trailers: Headers = []
        self.trailers_came: Headers = []

    def take(self, size: int) -> bytes:
        """The next bytes to send."""
        at = (self._shift + self.sent) % _PERIOD
        self.sent += size
        return PATTERN[at : at + size]

    def came(self, data: bytes) -> None:
        """Some bytes arrived: are they the ones that are next?"""
        assert not self.end_came
        at = (self._shift + self.got) % _PERIOD
        assert data == PATTERN[at : at + len(data)]
        self.got += len(data)

    def end_has_come(self, trailers: Headers) -> None:
        assert not self.end_came
        self.end_came = True
        self.trailers_came = trailers or self.trailers_came

    @property
    def arrived(self) -> bool:
        return (
            self.ended
            and self.end_came
            and self.got == self.sent
            and self.trailers == self.trailers_came
        )


class Lane:
    """One stream."""

    def __init__(self, number: int, ours: Application | Caller, exchange: Exchange | None) -> None:
        self.number = number
        self.ours = ours
        self.exchange = exchange
        self.to_peer = Body(number * 11)
        self.to_us = Body(number * 13)
        self.heard = 0
        """Bytes of `ours.body` that were looked at."""
        self.started = False
        """Our side has sent its head."""
        self.answered = False
        """The peer has sent its head."""
        self.known = False
        """The peer knows of it."""
        self.over = False
        """Somebody has reset it."""
        self.interim = False
        """It had an interim response: h2 knows no such thing on a stream that it has reset."""

    def __repr__(self) -> str:
        return f"<Lane {self.number} over={self.over}>"


class Http2Machine(RuleBasedStateMachine):
    """What both roles of ours have in common. Roles make `session`, and open lanes."""

    serves: ClassVar[bool]
    session: Http2Connection[Any]

    def __init__(self) -> None:
        super().__init__()
        self._world = world()
        self.loop: Loop = self._world.__enter__()
        self.wire = MemoryStream()
        self.ended = Ended()
        self.lanes: dict[int, Lane] = {}
        self.peer = oracle(client=self.serves)
        self.to_us = bytearray()
        self.to_peer = bytearray()
        self.clogged = False
        self.unanswered = True
        self.begin()
        self.peer.initiate_connection()
        self.deliver_all()

    def begin(self) -> None:
        """Make the session."""
        raise NotImplementedError

    def opened(self, event: RequestReceived) -> None:
        """A request reached the peer."""
        raise NotImplementedError

    # The wire.

    def collect(self) -> None:
        """Take what both sides have said."""
        self.loop.turn()
        self.to_us += self.peer.data_to_send()
        self.to_peer += self.wire.says()
        assert not self.wire.closed

    def hear(self, size: int) -> None:
        """Our session hears the next bytes from the peer."""
        self.collect()
        part = bytes(self.to_us[:size])
        del self.to_us[:size]
        if part:
            self.wire.hears(part)
        self.collect()
        self.look()

    def tell(self, size: int) -> None:
        """The peer hears the next bytes from our session."""
        self.collect()
        part = bytes(self.to_peer[:size])
        del self.to_peer[:size]
        for event in self.peer.receive_data(part):
            self.happened(event)
        self.collect()

    def deliver_all(self) -> None:
        for _ in range(_ROUNDS):
            self.collect()
            if not self.to_us and not self.to_peer:
                return
            self.hear(len(self.to_us))
            self.tell(len(self.to_peer))
        raise AssertionError("they talk for ever")

    def happened(self, event: Event) -> None:
        """Something reached the peer."""
        if isinstance(event, RequestReceived):
            self.opened(event)
            return
        if isinstance(event, SettingsAcknowledged):
            self.unanswered = False
        if isinstance(event, WindowUpdated):
            return
        lane = self.lanes.get(getattr(event, "stream_id", None) or 0)
        if lane is None:
            return
        if isinstance(event, DataReceived):
            lane.to_peer.came(event.data or b"")
        elif isinstance(event, TrailersReceived):
            lane.to_peer.trailers_came = [(bytes(n), bytes(v)) for n, v in event.headers or []]
        elif isinstance(event, StreamEnded):
            lane.to_peer.end_has_come([])
        elif isinstance(event, StreamReset):
            lane.over = True
        else:
            assert isinstance(event, ResponseReceived | InformationalResponseReceived), event

    def look(self) -> None:
        """Has anything more reached our side?"""
        for lane in self.lanes.values():
            ours = lane.ours
            if len(ours.body) > lane.heard:
                lane.to_us.came(bytes(ours.body[lane.heard :]))
                lane.heard = len(ours.body)
            if ours.finished and not lane.to_us.end_came:
                lane.to_us.end_has_come(ours.trailers or [])

    # What can be done with lanes.

    def live(self) -> list[Lane]:
        return [lane for lane in self.lanes.values() if not lane.over and not self.is_done(lane)]

    def is_done(self, lane: Lane) -> bool:
        """Whether the exchange on it is over for us."""
        return lane.exchange is not None and lane.exchange.done

    def pick(self, pick: int, lanes: list[Lane]) -> Lane | None:
        return lanes[pick % len(lanes)] if lanes else None

    def peer_can_send(self) -> list[Lane]:
        return [
            lane
            for lane in self.lanes.values()
            if not lane.over and not lane.to_us.ended and (self.serves or lane.answered)
        ]

    def we_can_send(self) -> list[Lane]:
        return [lane for lane in self.live() if lane.started and not lane.to_peer.ended]

    # Rules.

    @rule(size=st.sampled_from([1, 9, 30, 1000, 100_000]))
    def we_hear(self, size: int) -> None:
        self.hear(size)

    @rule(size=st.sampled_from([1, 9, 30, 1000, 100_000]))
    def peer_hears(self, size: int) -> None:
        self.tell(size)

    @rule()
    def both_hear_all(self) -> None:
        self.deliver_all()

    @rule(pick=PICK, size=SIZES, padding=st.none() | st.sampled_from([0, 1, 255]))
    def peer_sends(self, pick: int, size: int, padding: int | None) -> None:
        lane = self.pick(pick, self.peer_can_send())
        if lane is None:
            return
        extra = 0 if padding is None else padding + 1
        while size >= 0:
            room = min(self.peer.local_flow_control_window(lane.number), 16_384) - extra
            if room < 0 or (room == 0 and size):
                return
            part = min(size, room)
            self.peer.send_data(lane.number, lane.to_us.take(part), pad_length=padding)
            size -= part
            if not size:
                return

    @rule(pick=PICK, trailers=st.sampled_from([[], TRAILERS]))
    def peer_ends(self, pick: int, trailers: Headers) -> None:
        lane = self.pick(pick, self.peer_can_send())
        if lane is not None:
            self.end_peer(lane, trailers)

    def end_peer(self, lane: Lane, trailers: Headers) -> None:
        lane.to_us.ended, lane.to_us.trailers = True, trailers
        if trailers:
            self.peer.send_headers(lane.number, trailers, end_stream=True)
        else:
            self.peer.end_stream(lane.number)

    @rule(pick=PICK)
    def peer_resets(self, pick: int) -> None:
        lane = self.pick(pick, [lane for lane in self.lanes.values() if self.peer_may_reset(lane)])
        if lane is not None:
            lane.over = True
            self.peer.reset_stream(lane.number, 8)

    def peer_may_reset(self, lane: Lane) -> bool:
        complete = lane.to_us.ended and lane.to_peer.end_came
        return lane.known and not lane.over and not lane.interim and not complete

    @rule(pick=PICK, size=WINDOWS)
    def peer_opens_a_window(self, pick: int, size: int) -> None:
        lanes = [lane for lane in self.lanes.values() if self.peer_may_widen(lane)]
        lane = self.pick(pick, lanes)
        if lane is not None:
            self.peer.increment_flow_control_window(size, lane.number)

    def peer_may_widen(self, lane: Lane) -> bool:
        return lane.known and not lane.over and not lane.to_peer.end_came

    @rule(size=WINDOWS)
    def peer_opens_the_connection(self, size: int) -> None:
        self.peer.increment_flow_control_window(size)

    @rule(size=st.sampled_from([0, 1, 100, 65_535, 500_000]))
    def peer_changes_windows(self, size: int) -> None:
        self.change({SettingCodes.INITIAL_WINDOW_SIZE: size})

    @rule(size=st.sampled_from([0, 50, 4096, 65_536]))
    def peer_changes_its_table(self, size: int) -> None:
        self.change({SettingCodes.HEADER_TABLE_SIZE: size})

    def change(self, values: dict[SettingCodes | int, int]) -> None:
        """Settings, once those before have been acknowledged: h2 takes an answer for one to all of them."""
        if not self.unanswered:
            self.unanswered = True
            self.peer.update_settings(values)

    @rule()
    def peer_pings(self) -> None:
        self.peer.ping(b"12345678")

    @precondition(lambda self: self.serves)
    @rule(pick=PICK, on=PICK)
    def peer_prioritizes(self, pick: int, on: int) -> None:
        if pick % 100 != on % 100:
            self.peer.prioritize(2 * (pick % 100) + 1, depends_on=2 * (on % 100) + 1, weight=5)

    @rule(clogged=st.booleans())
    def socket_takes_no_more(self, clogged: bool) -> None:
        if clogged != self.clogged:
            self.clogged = clogged
            if clogged:
                self.wire.stops_reading()
            else:
                self.wire.reads_again()
            self.collect()

    @rule(pick=PICK, size=SIZES, twice=st.booleans())
    def we_send(self, pick: int, size: int, twice: bool) -> None:
        lane = self.pick(pick, self.we_can_send())
        if lane is not None and lane.to_peer.sent < 1_000_000:
            for _ in range(1 + twice):
                self.send_ours(lane, lane.to_peer.take(size), end=False)

    @rule(pick=PICK, how=st.sampled_from(["alone", "with data", "trailers"]), size=SIZES)
    def we_end(self, pick: int, how: str, size: int) -> None:
        lane = self.pick(pick, self.we_can_send())
        if lane is None:
            return
        stream = self.session.streams.get(lane.number)
        if not size and stream is not None and stream.window < 0:
            size = 1
        if how == "with data":
            lane.to_peer.ended = True
            self.send_ours(lane, lane.to_peer.take(size), end=True)
        else:
            self.finish_ours(lane, TRAILERS if how == "trailers" else [])

    def finish_ours(self, lane: Lane, trailers: Headers) -> None:
        """End what we send, in one way or another."""
        stream = self.session.streams.get(lane.number)
        if stream is not None and stream.window < 0:
            # An empty DATA frame may be sent all the same (RFC 9113 §6.9.1), but h2 does not take it.
            trailers = TRAILERS
        lane.to_peer.ended, lane.to_peer.trailers = True, trailers
        self.end_ours(lane, trailers)

    @rule(pick=PICK, held=st.booleans())
    def we_hold(self, pick: int, held: bool) -> None:
        lane = self.pick(pick, self.live())
        if lane is not None:
            self.hold_ours(lane, held)

    @rule(pick=PICK)
    def we_give_up(self, pick: int) -> None:
        lane = self.pick(pick, self.live())
        if lane is not None:
            lane.over = True
            self.give_up_ours(lane)

    def send_ours(self, lane: Lane, data: bytes, *, end: bool) -> None:
        raise NotImplementedError

    def end_ours(self, lane: Lane, trailers: Headers) -> None:
        raise NotImplementedError

    def hold_ours(self, lane: Lane, held: bool) -> None:
        raise NotImplementedError

    def give_up_ours(self, lane: Lane) -> None:
        raise NotImplementedError

    def start_ours(self, lane: Lane) -> None:
        raise NotImplementedError

    def start_peer(self, lane: Lane) -> None:
        raise NotImplementedError

    # The end.

    def unfinished(self) -> Iterator[Lane]:
        for lane in self.lanes.values():
            if not lane.over and not (lane.to_us.arrived and lane.to_peer.arrived):
                yield lane

    def settle(self) -> None:
        """Let everything go on, and expect that it comes to an end."""
        self.socket_takes_no_more(False)
        self.deliver_all()
        self.peer_changes_windows(65_535)
        self.deliver_all()
        for _ in range(_ROUNDS):
            for lane in self.live():
                self.hold_ours(lane, False)
                if not lane.started:
                    self.start_ours(lane)
                if not lane.to_peer.ended:
                    self.finish_ours(lane, [])
            for lane in list(self.lanes.values()):
                if lane.over:
                    continue
                if not self.serves and not lane.answered:
                    self.start_peer(lane)
                if not lane.to_us.ended:
                    self.end_peer(lane, [])
                if self.peer_may_widen(lane):
                    self.peer.increment_flow_control_window(20_000, lane.number)
            self.peer.increment_flow_control_window(50_000)
            self.deliver_all()
            if not any(self.unfinished()):
                return
        raise AssertionError(f"does not end: {list(self.unfinished())}")

    def teardown(self) -> None:
        try:
            self.settle()
            assert self.ended.all_once
            assert not self.session.streams
            assert not self.session.waiting
            assert not self.session.backlog.size
            assert not self.peer.open_inbound_streams
            assert not self.peer.open_outbound_streams
            self.wire.breaks()
            self.loop.turn()
            assert not len(self.loop.sweep)
        except BaseException:
            self._world.__exit__(*sys.exc_info())
            raise
        self._world.__exit__(None, None, None)
