"""One question, many answers: from everybody who has one, until no more come."""

import anyio
from nats.aio.msg import Msg
from nats.errors import Error

from common.bus.connection import Connection
from common.bus.listening import headers, unsubscribe
from common.errors import BusUnavailable


async def gather(
    connection: Connection, subject: str, payload: bytes, *, timeout: float, quiet: float
) -> list[bytes]:
    """Every answer that comes within `timeout` seconds, and no later than `quiet` after the one before.

    Empty if nobody answers. Raises BusUnavailable.
    """
    client = connection.client()
    inbox = client.new_inbox()
    send, receive = anyio.create_memory_object_stream[bytes](float("inf"))

    async def hear(message: Msg) -> None:
        if "Status" not in headers(message):  # 503: nobody is there
            send.send_nowait(message.data)

    subscription = None
    answers: list[bytes] = []
    with send, receive, anyio.move_on_after(timeout):
        try:
            subscription = await client.subscribe(inbox, cb=hear)
            await client.publish(subject, payload, reply=inbox)
        except (Error, OSError) as error:
            raise BusUnavailable(f"{subject}: {error}") from None
        try:
            wait = timeout
            while True:
                with anyio.move_on_after(wait) as waiting:
                    answers.append(await receive.receive())
                if waiting.cancelled_caught:
                    break
                wait = quiet
        finally:
            connection.spawn(unsubscribe, subscription)
    return answers
