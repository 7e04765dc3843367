"""An HTTP/2 endpoint, made with the `h2` library, that can refuse what it has not looked at."""

import anyio
import h2.config
import h2.connection
import h2.errors
import h2.events
from anyio.abc import SocketAttribute, SocketStream, TaskStatus
from hyperframe.frame import GoAwayFrame

ALL_STREAMS = 2**31 - 1


def goaway(last: int) -> bytes:
    """A frame that says which streams will be looked at; the library would not go on after its own."""
    return GoAwayFrame(last_stream_id=last).serialize()


class H2Place:
    """Answers each request with `name` and its body; the first `refuses` are refused unprocessed.

    `leaves`: it refuses by leaving, with a GOAWAY that names no stream, instead of stream by stream.
    """

    def __init__(self, name: bytes, *, refuses: int = 0, leaves: bool = False) -> None:
        self.name = name
        self.port = 0
        self.answered = 0
        self.refused = 0
        self.connections: list[h2.connection.H2Connection] = []
        self._refuses = refuses
        self._leaves = leaves
        self._lines: list[_Line] = []
        self.hold = anyio.Event()
        """No response ends before this is set."""
        self.hold.set()

    @property
    def open(self) -> int:
        """Connections that are open."""
        return len(self._lines)

    async def serve(self, *, task_status: TaskStatus[None]) -> None:
        """Serve until cancelled."""
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        self.port = listener.extra(SocketAttribute.local_port)
        task_status.started()
        async with listener:
            await listener.serve(self._talk)

    async def warn(self) -> None:
        """Say that it leaves, but not which streams it will look at: RFC 9113 §6.8."""
        for line in self._lines:
            await line.flush(goaway(ALL_STREAMS))

    async def _talk(self, stream: SocketStream) -> None:
        line = _Line(stream)
        connection = line.connection
        self.connections.append(connection)
        self._lines.append(line)
        bodies: dict[int, bytes] = {}
        try:
            async with stream, anyio.create_task_group() as group:
                connection.initiate_connection()
                await line.flush()
                while True:
                    for event in connection.receive_data(await stream.receive()):
                        if isinstance(event, h2.events.RequestReceived):
                            if self.refused < self._refuses:
                                await self._refuse(line, event.stream_id)
                            else:
                                bodies[event.stream_id] = b""
                        elif isinstance(event, h2.events.DataReceived):
                            if event.stream_id in bodies:
                                bodies[event.stream_id] += event.data
                        elif isinstance(event, h2.events.StreamEnded) and event.stream_id in bodies:
                            body = bodies.pop(event.stream_id)
                            group.start_soon(self._answer, line, event.stream_id, body)
                    await line.flush()
        except* (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        finally:
            self._lines.remove(line)

    async def _refuse(self, line: "_Line", number: int) -> None:
        self.refused += 1
        if self._leaves:
            await line.flush(goaway(0))
        else:
            line.connection.reset_stream(number, h2.errors.ErrorCodes.REFUSED_STREAM)
            await line.flush()

    async def _answer(self, line: "_Line", number: int, body: bytes) -> None:
        await self.hold.wait()
        self.answered += 1
        line.connection.send_headers(number, [(":status", "200")])
        line.connection.send_data(number, self.name + b" " + body, end_stream=True)
        await line.flush()


class _Line:
    """One connection, on which several tasks have something to say."""

    def __init__(self, stream: SocketStream) -> None:
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self._stream = stream
        self._turn = anyio.Lock()

    async def flush(self, more: bytes = b"") -> None:
        """Send what the library has to say, and `more`; one task after the other, or frames would mix."""
        async with self._turn:
            if data := self.connection.data_to_send() + more:
                await self._stream.send(data)
