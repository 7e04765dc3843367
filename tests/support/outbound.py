"""The proxy's own choice of endpoints, between exchanges and endpoints that are in the test's hands."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
from anyio.abc import SocketAttribute, SocketStream

from common.clock import SystemClock
from common.contract.discovery import Endpoint, FailureAccrual
from common.latest import Latest
from proxy.codec.heads import NO_BODY, Headers, RequestHead, ResponseHead
from proxy.control.discovery import Backend
from proxy.control.held import Held
from proxy.decide.balance import Balancer
from proxy.decide.candidate import Candidate, What
from proxy.observe.counters import Counters
from proxy.outbound.reach import Reach
from proxy.outbound.requests import Requests
from proxy.session.carrier import Carrier
from proxy.session.exchange import Exchange
from proxy.transport.connect import Connector
from proxy.transport.stream import Stream
from proxy.transport.sweep import Sweep

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
BROKEN = b"HTTP/1.1 500 Broken\r\ncontent-length: 2\r\n\r\nno"


class Heard:
    """What the client of one exchange was told: a ServerSide."""

    def __init__(self) -> None:
        self.head: ResponseHead | None = None
        self.body = b""
        self.trailers: Headers | None = None
        self.broken_off: int | None = None
        self.over = anyio.Event()

    @property
    def status(self) -> int:
        """Of the response; 0 while there is none."""
        return self.head.status if self.head is not None else 0

    @property
    def error(self) -> str:
        """What `tulle-error` says, in the head or the trailers; empty if nothing."""
        found = dict(self.head.headers if self.head else []) | dict(self.trailers or [])
        return found.get(b"tulle-error", b"").decode()

    def respond(self, head: ResponseHead, data: bytes, end: bool) -> None:
        self.head = head
        self.body += data
        if end:
            self.over.set()

    def inform(self, head: ResponseHead) -> None:
        pass

    def send(self, data: bytes, end: bool) -> None:
        self.body += data
        if end:
            self.over.set()

    def finish(self, trailers: Headers) -> None:
        self.trailers = trailers
        self.over.set()

    def break_off(self, code: int) -> None:
        self.broken_off = code
        self.over.set()

    def detach(self) -> tuple[Stream, bytes]:
        raise NotImplementedError

    def tunnel_closed(self) -> None:
        raise NotImplementedError

    def hold_request(self, held: bool) -> None:
        pass


class Place:
    """An HTTP/1.1 endpoint that answers each request with what `answer` returns; b"" resets the connection."""

    def __init__(self, answer: Callable[[bytes], bytes] = lambda _: OK) -> None:
        self.answer = answer
        self.asked: list[bytes] = []
        self.port = 0

    async def serve(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Serve until cancelled."""
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", backlog=512)
        self.port = listener.extra(SocketAttribute.local_port)
        task_status.started()
        async with listener:
            await listener.serve(self._talk)

    async def _talk(self, stream: SocketStream) -> None:
        async with stream:
            buffered = b""
            while True:
                while b"\r\n\r\n" not in buffered:
                    try:
                        buffered += await stream.receive()
                    except (anyio.EndOfStream, anyio.BrokenResourceError):
                        return
                head, _, buffered = buffered.partition(b"\r\n\r\n")
                while len(buffered) < _length(head):
                    buffered += await stream.receive()
                self.asked.append(head + b"\r\n\r\n" + buffered[: _length(head)])
                buffered = buffered[_length(head) :]
                answer = self.answer(head)
                if not answer:
                    return
                await stream.send(answer)


def _length(head: bytes) -> int:
    _, found, rest = head.partition(b"content-length: ")
    return int(rest.split(b"\r\n")[0]) if found else 0


class Choice:
    """The outbound proxy's requests, and the backend that they go to."""

    def __init__(self, group: anyio.abc.TaskGroup, connect_seconds: float) -> None:
        self._group = group
        self.loop = asyncio.get_running_loop()
        self.told: list[What] = []
        self.balancer = Balancer(SystemClock(), self._tell)
        self.backend = Backend("web.shop", 8000, "detect", self.balancer)
        self.sweep = Sweep()
        self.counters = Counters()
        self.carrier = Carrier(group, self.sweep, 30.0)
        reach = Reach(
            Connector(0, connect_seconds), Latest[Held | None](None), self.counters, SystemClock()
        )
        self.requests = Requests(self.carrier, reach)
        self.exchanges: list[Exchange] = []

    def _tell(self, what: What, candidate: Candidate) -> None:
        self.told.append(what)

    async def place(self, answer: Callable[[bytes], bytes] = lambda _: OK) -> Place:
        """One more endpoint that is there; the balancer does not know of it yet."""
        place = Place(answer)
        await self._group.start(place.serve)
        return place

    def endpoints(self, *ports: int, accrual: FailureAccrual | None = None) -> None:
        """These are the endpoints now."""
        self.balancer.update(
            [(Endpoint(address="127.0.0.1", ports={}, uid=str(port)), port) for port in ports],
            accrual,
        )

    def candidates(self) -> list[Candidate]:
        """What is known of the endpoints."""
        return list(self.balancer._candidates.values())

    def send(
        self,
        method: bytes = b"GET",
        *,
        body: int = NO_BODY,
        protocol: str = "http/1.1",
        headers: Headers | None = None,
    ) -> tuple[Exchange, Heard]:
        """Have the proxy carry out a request; a body is for the test to send."""
        heard = Heard()
        head = RequestHead(method, b"/", b"web", headers or [], body=body, protocol=protocol)
        exchange = Exchange(head, heard, self.loop.time())
        exchange.request_done = body == NO_BODY
        self.exchanges.append(exchange)
        self.requests.serve(exchange, self.backend)
        return exchange, heard

    async def ask(self, method: bytes = b"GET") -> Heard:
        """The same, and wait for the end of the answer."""
        _, heard = self.send(method)
        with anyio.fail_after(10):
            await heard.over.wait()
        return heard


@asynccontextmanager
async def choice(connect_seconds: float = 1.0) -> AsyncIterator[Choice]:
    """A Choice; afterwards nothing may be on its way."""
    async with anyio.create_task_group() as group:
        made = Choice(group, connect_seconds)
        try:
            yield made
        finally:
            made.carrier.retire_all()
            await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        assert all(exchange.done for exchange in made.exchanges)
        assert [c.in_flight for c in made.candidates()] == [0] * len(made.candidates())
        assert not made.requests.waiting
        assert not made.requests.limited


def dead_port() -> int:
    """A port where nobody listens: connections to it are refused."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])
