"""Steady HTTP/2, with the `h2` library: several streams at a time over each connection."""

import asyncio

import anyio
import h2.config
import h2.connection
import h2.events
import h2.exceptions

from tests.support.load import PATIENCE_SECONDS, Target, Traffic

STREAMS = 8
"""Requests at a time on a connection."""
FRAME_HEAD = 9


class Answer:
    """What has come of a response so far."""

    def __init__(self) -> None:
        self.over = anyio.Event()
        self.status = b""
        self.size = 0
        self.trouble = ""


class Connection:
    """One connection, from its opening to the end of its last stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self._answers: dict[int, Answer] = {}
        self._streams = 0
        self.leaving = False
        """The other side has said that it takes no more requests."""
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(10_000_000)
        self._flush()

    async def read(self) -> None:
        """Hear the answers, until the connection ends."""
        try:
            while True:
                head = await self._reader.readexactly(FRAME_HEAD)
                rest = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
                for event in self._h2.receive_data(head + rest):
                    self._heard(event)
                self._flush()
        except asyncio.IncompleteReadError:
            self._broke("the connection ended")
        except (OSError, h2.exceptions.ProtocolError) as error:
            self._broke(repr(error))

    async def ask(self, target: Target, path: str) -> Answer:
        """One request; its answer, when that is complete."""
        number = self._h2.get_next_available_stream_id()
        answer = self._answers[number] = Answer()
        head = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", path.encode())]
        head.append((b":authority", target.authority.encode()))
        self._h2.send_headers(number, head, end_stream=True)
        self._flush()
        try:
            with anyio.fail_after(PATIENCE_SECONDS):
                await answer.over.wait()
        except TimeoutError:
            answer.trouble = f"no answer after {PATIENCE_SECONDS:g} s"
        finally:
            self._answers.pop(number, None)
        return answer

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()

    def _heard(self, event: h2.events.Event) -> None:
        number = getattr(event, "stream_id", 0)
        answer = self._answers.get(number, None) or Answer()
        match event:
            case h2.events.ResponseReceived(headers=headers):
                answer.status = dict(headers)[b":status"]
            case h2.events.DataReceived(data=data, flow_controlled_length=length):
                answer.size += len(data)
                self._h2.acknowledge_received_data(length or 0, number)
            case h2.events.StreamEnded():
                answer.over.set()
            case h2.events.StreamReset(error_code=code):
                answer.trouble = f"reset: {code!r}"
                answer.over.set()
            case h2.events.ConnectionTerminated(last_stream_id=last):
                self.leaving = True
                # What has begun goes on (RFC 9113 §6.8), though not with the library.
                self._h2.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
                self._broke("not processed", above=last or 0)

    def _broke(self, why: str, above: int = -1) -> None:
        self.leaving = True
        for number, answer in self._answers.items():
            if number > above:
                answer.trouble = why
                answer.over.set()

    def _flush(self) -> None:
        if data := self._h2.data_to_send():
            self._writer.write(data)


class Http2(Traffic):
    """Requests for `path`, whose answers have `size` bytes, over connections that are kept."""

    def __init__(
        self,
        target: Target,
        path: str,
        size: int,
        *,
        connections: int = 2,
        pause: float = 0.05,
    ) -> None:
        super().__init__(f"HTTP/2 {path}", target, connections=connections, pause=pause)
        self._path = path
        self._size = size

    async def _run(self, stop: anyio.Event) -> None:
        while not stop.is_set():
            try:
                opened = await asyncio.open_connection(*self.target.proxy)
            except OSError:
                self.refused += 1
                await anyio.sleep(self._pause)
                continue
            connection = Connection(*opened)
            async with anyio.create_task_group() as reading:
                reading.start_soon(connection.read)
                async with anyio.create_task_group() as asking:
                    for _ in range(STREAMS):
                        asking.start_soon(self._ask_on, connection, stop)
                reading.cancel_scope.cancel()
            connection.close()

    async def _ask_on(self, connection: Connection, stop: anyio.Event) -> None:
        while not connection.leaving and not stop.is_set():
            number, self.begun = self.begun, self.begun + 1
            answer = await connection.ask(self.target, self._path)
            trouble = answer.trouble
            if not trouble and (answer.status, answer.size) != (b"200", self._size):
                trouble = f"status {answer.status!r}, {answer.size} bytes"
            if trouble:
                self.lost.append(f"{number}: {trouble}")
            else:
                self.answered += 1
            await anyio.sleep(self._pause)
