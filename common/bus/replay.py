"""What was said on a topic and is still retained: for those who were not there to hear it."""

from typing import TypeVar

import msgspec

from common.bus.client import Bus
from common.bus.listening import decode, headers
from common.bus.state import stored
from common.contract.topic import Topic

M = TypeVar("M", bound=msgspec.Struct)


async def replay(bus: Bus, stream: str, topic: Topic[M]) -> list[tuple[str, M]]:
    """What `stream` holds of a topic, subject and message, oldest first.

    What does not decode is counted, logged and left out. Raises BusUnavailable.
    """
    heard = []
    async for message in stored(bus.connection, stream, topic.subject):
        subject = headers(message).get("Nats-Subject", "")
        document = decode(bus.connection, topic, subject, message.data)
        if document is not None:
            heard.append((subject, document))
    return heard
