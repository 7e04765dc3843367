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
        self._streams: list[SocketStream] = []
        self.hold = anyio.Event()
        """No response ends before this is set."""
        self.hold.set()

    @property
    def open(self) -> int:
        """Connections that are open."""
        return len(self._streams)

    async def serve(self, *, task_status: TaskStatus[None]) -> None:
        """Serve until cancelled."""
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        self.port = listener.extra(SocketAttribute.local_port)
        task_status.started()
        async with listener:
            await listener.serve(self._talk)

    async def warn(self) -> None:
        """Say that it leaves, but not which streams it will look at: RFC 9113 §6.8."""
        for connection, stream in zip(self.connections, self._streams, strict=False):
            await stream.send(connection.data_to_send() + goaway(ALL_STREAMS))

    async def _talk(self, stream: SocketStream) -> None:
        config = h2.config.H2Configuration(client_side=False)
        connection = h2.connection.H2Connection(config)
        self.connections.append(connection)
        self._streams.append(stream)
        bodies: dict[int, bytes] = {}
        try:
            async with stream, anyio.create_task_group() as group:
                connection.initiate_connection()
                await stream.send(connection.data_to_send())
                while True:
                    for event in connection.receive_data(await stream.receive()):
                        if isinstance(event, h2.events.RequestReceived):
                            if self.refused < self._refuses:
                                await stream.send(self._refuse(connection, event.stream_id))
                            else:
                                bodies[event.stream_id] = b""
                        elif isinstance(event, h2.events.DataReceived):
                            if event.stream_id in bodies:
                                bodies[event.stream_id] += event.data
                        elif isinstance(event, h2.events.StreamEnded) and event.stream_id in bodies:
                            body = bodies.pop(event.stream_id)
                            group.start_soon(
                                self._answer, connection, stream, event.stream_id, body
                            )
                    await stream.send(connection.data_to_send())
        except* (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        finally:
            self._streams.remove(stream)

    def _refuse(self, connection: h2.connection.H2Connection, number: int) -> bytes:
        self.refused += 1
        if self._leaves:
            return connection.data_to_send() + goaway(0)
        connection.reset_stream(number, h2.errors.ErrorCodes.REFUSED_STREAM)
        return connection.data_to_send()

    async def _answer(
        self, connection: h2.connection.H2Connection, stream: SocketStream, number: int, body: bytes
    ) -> None:
        await self.hold.wait()
        self.answered += 1
        connection.send_headers(number, [(":status", "200")])
        connection.send_data(number, self.name + b" " + body, end_stream=True)
        await stream.send(connection.data_to_send())
