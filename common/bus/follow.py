"""Followers: each keeps one retained document up to date, and all share one timetable.

A follower subscribes, then gets what is stored; applies whichever is newer; and gets again after a
second, every minute, after each reconnect and after messages were dropped, because a replica may answer
with a document's predecessor and a lost message says nothing.
"""

import heapq
import itertools
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import anyio
import msgspec
from nats.aio.msg import Msg

from common.bus.connection import Connection
from common.bus.listening import Subscription, call, decode
from common.bus.merge import Change, Merge
from common.bus.state import check_said, fetch, sequence
from common.contract.topic import State
from common.errors import BusUnavailable, InvalidMessage

M = TypeVar("M", bound=msgspec.Struct)

SOON = 1.0
"""Seconds after which a first answer is asked for again: a replica that was late is not late any more."""
EVERY = 60.0
_MOST_GETS = 32
"""Gets on their way at once, whatever the number of followers."""
_MOST_WAITING = 1024


class Follower(Generic[M]):
    """One retained document as it is now, as far as the bus tells."""

    def __init__(
        self,
        followers: "Followers",
        state: State[M],
        on_change: Callable[[M | None, int], None],
    ) -> None:
        self.state = state
        self._on_change = on_change
        self._followers = followers
        self._merge: Merge[M] = Merge()
        self._knows = anyio.Event()
        self._subscription = followers.subscription(self)
        self.due = 0.0
        """When to get it next, on the monotonic clock."""
        self.settled = False
        """On this connection a get has answered."""

    def __repr__(self) -> str:
        return f"<Follower {self.state.subject} revision={self.revision}>"

    @property
    def document(self) -> M | None:
        """The newest document seen; None if there is none. A tombstone is a document."""
        return self._merge.document

    @property
    def revision(self) -> int:
        """The revision of the document; 0 if there is none."""
        return self._merge.revision

    @property
    def known(self) -> bool:
        """True once the bus has said something, be it that nothing is there."""
        return self._merge.known

    async def wait_known(self, timeout: float | None = None) -> bool:
        """Wait until `known`, for `timeout` seconds at most; says whether it is."""
        with anyio.move_on_after(timeout):
            await self._knows.wait()
        return self.known

    def close(self) -> None:
        """Follow no more."""
        self._subscription.close()
        self._followers.forget(self)

    async def hear(self, message: Msg) -> None:
        """A revision was published."""
        try:
            check_said(message, self.state)
            revision = sequence(message)
            previous = sequence(message, "Nats-Last-Sequence")
        except InvalidMessage:
            # Not said by the stream: whoever sent it, followers do not obey it.
            self._followers.connection.stats.undecodable += 1
            return
        document = self._decode(message)
        if document is not None:
            gaps = self._merge.gaps
            self._apply(self._merge.heard(document, revision, previous))
            self._followers.connection.stats.gaps += self._merge.gaps - gaps

    async def ask(self) -> None:
        """Subscribe if that has not been done, and get what is stored; raises BusUnavailable."""
        if self._subscription.closed:
            return
        connection = self._followers.connection
        await connection.add(self._subscription)
        message = await fetch(connection, self.state.stream, self.state.written)
        if message is None:
            self._apply(self._merge.got_nothing())
            return
        document = self._decode(message)
        if document is not None:
            self._apply(self._merge.got(document, sequence(message)))

    def _decode(self, message: Msg) -> M | None:
        return decode(self._followers.connection, self.state, self.state.subject, message.data)

    def _apply(self, change: Change[M] | None) -> None:
        if change is not None and not self._subscription.closed:
            connection = self._followers.connection
            call(connection, self.state.subject, self._on_change, *change)
        if self._merge.known:
            self._knows.set()


class Followers:
    """The timetable of all followers of a bus: who gets when, and how many at once."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._all: set[Follower[Any]] = set()
        self._due: list[tuple[float, int, Follower[Any]]] = []
        self._number = itertools.count()
        self._wake = anyio.Event()
        self._gets = anyio.Semaphore(_MOST_GETS)

    def subscription(self, follower: Follower[Any]) -> Subscription:
        """What hears the follower's document; nothing is subscribed yet."""
        return Subscription(
            self.connection,
            follower.state.subject,
            follower.hear,
            on_slow=lambda: self._again(follower, 0.0),
            most_waiting=_MOST_WAITING,
        )

    def add(self, follower: Follower[Any]) -> None:
        """Keep it up to date from now on."""
        self._all.add(follower)
        self._again(follower, 0.0)

    def forget(self, follower: Follower[Any]) -> None:
        """Leave it alone from now on."""
        self._all.discard(follower)

    async def run(self) -> None:
        """Ask for each follower when it is due, for as long as the bus lives."""
        self.connection.connected.on_change(self._reconnected)
        clock = self.connection.clock
        while True:
            await self.connection.connected.wait_for(bool)
            wait = self._due[0][0] - clock.monotonic() if self._due else EVERY
            if wait > 0:
                with anyio.move_on_after(wait):
                    await self._wake.wait()
                continue
            at, _, follower = heapq.heappop(self._due)
            # It may have been forgotten, or scheduled anew, since this entry was made.
            if follower in self._all and follower.due == at:
                await self._gets.acquire()
                self.connection.spawn(self._ask, follower)

    async def _ask(self, follower: Follower[Any]) -> None:
        due = follower.due
        try:
            await follower.ask()
        except (BusUnavailable, InvalidMessage) as error:
            complaints = self.connection.complaints
            complaints.say("get", "a document could not be read", error=str(error))
            wait = SOON
        else:
            wait = EVERY if follower.settled else SOON
            follower.settled = True
        finally:
            self._gets.release()
        if follower.due == due:
            self._again(
                follower, wait * (0.75 + 0.5 * self.connection.clock.random()), follower.settled
            )

    def _again(self, follower: Follower[Any], wait: float, settled: bool = False) -> None:
        """Ask for it in `wait` seconds; unless `settled`, once more soon after that."""
        follower.settled = settled
        follower.due = self.connection.clock.monotonic() + wait
        heapq.heappush(self._due, (follower.due, next(self._number), follower))
        if self._due[0][2] is follower:
            self._wake.set()
            self._wake = anyio.Event()

    def _reconnected(self, connected: bool) -> None:
        """Ask for everything again, what is not known first, the rest spread over a second."""
        if connected:
            for follower in self._all:
                wait = self.connection.clock.random() * SOON if follower.known else 0.0
                self._again(follower, wait)
