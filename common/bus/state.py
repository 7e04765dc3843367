"""Retained documents: written with the expected revision, read with a direct get."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, TypeVar

import anyio
import msgspec
from nats.aio.msg import Msg
from nats.errors import Error

from common.bus.connection import Connection
from common.bus.listening import decode, headers, unsubscribe
from common.contract.topic import State
from common.errors import BusUnavailable, InvalidMessage, RevisionConflict

M = TypeVar("M", bound=msgspec.Struct)

_TIMEOUT = 2.0
_SCAN_PAGE = 256
_SCAN_TIMEOUT = 5.0
_WRONG_LAST_SEQUENCE = (10071, 10164)
"""What a stream answers if the expected sequence is not the last one (server error codes)."""


@dataclass(frozen=True, slots=True)
class Revision(Generic[M]):
    """A document and its revision: its sequence in the stream, so that a newer one is always larger."""

    message: M
    revision: int


class _ApiError(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _PubAck(msgspec.Struct):
    seq: int = 0
    error: _ApiError | None = None


async def store(
    connection: Connection,
    subject: str,
    payload: bytes,
    *,
    stream: str,
    expected: int,
    ttl: float | None = None,
    more: Mapping[str, str] | None = None,
    timeout: float = _TIMEOUT,
) -> int:
    """Store `payload` in `stream` if `expected` is the last sequence of `subject` (0: there is none).

    Returns its sequence. Raises RevisionConflict, or BusUnavailable (then it may or may not be stored).
    """
    given = {
        "Nats-Expected-Stream": stream,
        "Nats-Expected-Last-Subject-Sequence": str(expected),
        **(more or {}),
    }
    if ttl is not None:
        given["Nats-TTL"] = f"{max(1, round(ttl))}s"  # the server counts in seconds, one at least
    message = await connection.request(subject, payload, timeout=timeout, headers=given)
    try:
        answer = msgspec.json.decode(message.data, type=_PubAck)
    except msgspec.DecodeError as error:
        raise BusUnavailable(f"{subject}: {stream} answered strangely: {error}") from None
    if answer.error is None:
        return answer.seq
    if answer.error.err_code in _WRONG_LAST_SEQUENCE:
        raise RevisionConflict(f"{subject}: revision {expected} is not the last one")
    raise BusUnavailable(f"{subject}: {stream} answered: {answer.error.description}")


async def fetch(
    connection: Connection, stream: str, subject: str, timeout: float = _TIMEOUT
) -> Msg | None:
    """The last message that a replica of `stream` holds for `subject`; None if it holds none.

    It may be a little old: replicas answer without asking their leader. Raises BusUnavailable.
    """
    message = await connection.request(
        f"$JS.API.DIRECT.GET.{stream}.{subject}", b"", timeout=timeout
    )
    status = headers(message).get("Status")
    if status is None:
        return message
    if status == "404":
        return None
    raise BusUnavailable(f"{subject}: {stream} answered {status}")


def sequence(message: Msg, header: str = "Nats-Sequence") -> int:
    """A sequence number in a message's headers; raises InvalidMessage if it is not there."""
    text = headers(message).get(header, "")
    if not text.isdecimal():
        raise InvalidMessage(f"{message.subject}: {header} is {text!r}, expected a number")
    return int(text)


def check_said(message: Msg, state: State[M]) -> None:
    """Raise InvalidMessage unless a stream has said this by itself, of this document.

    What somebody reads is sent wherever they want it, also here: then it is what the stream holds of some
    document, and names that one. The server writes the names over whatever an author has put there.
    """
    given = headers(message)
    said = given.get("Nats-Stream"), given.get("Nats-Subject")
    if said != (state.stream, state.written):
        raise InvalidMessage(f"{message.subject}: said of {said}, expected {state.written}")


async def get(connection: Connection, state: State[M]) -> Revision[M] | None:
    """The document as some replica holds it; raises BusUnavailable or InvalidMessage."""
    message = await fetch(connection, state.stream, state.written)
    if message is None:
        return None
    return Revision(state.decode(message.data), sequence(message))


async def last_revision(connection: Connection, state: State[M]) -> int:
    """The revision of what is stored, even if it cannot be read; 0: nothing. Raises BusUnavailable."""
    message = await fetch(connection, state.stream, state.written)
    return 0 if message is None else sequence(message)


async def scan(
    connection: Connection, state: State[M]
) -> AsyncGenerator[dict[str, Revision[M]], None]:
    """All documents under a subject with wildcards, a page at a time, by the subject on which they are heard.

    Read from whichever replica answers: one written meanwhile may be missing or old, and the compare-and-set
    of `put` says so. What does not decode is counted, logged and left out. Raises BusUnavailable.
    """
    async with aclosing(_pages(connection, state.stream, state.written)) as pages:
        async for page in pages:
            found: dict[str, Revision[M]] = {}
            for message in page:
                subject = headers(message).get("Nats-Subject", "")
                heard = "tulle." + subject.removeprefix("put.")
                document = decode(connection, state, heard, message.data)
                if document is not None:
                    found[heard] = Revision(document, sequence(message))
            yield found


async def stored(connection: Connection, stream: str, subject: str) -> AsyncGenerator[Msg, None]:
    """All that a stream holds under a subject with wildcards, oldest first; raises BusUnavailable."""
    async with aclosing(_pages(connection, stream, subject)) as pages:
        async for page in pages:
            for message in page:
                yield message


async def _pages(
    connection: Connection, stream: str, subject: str
) -> AsyncGenerator[list[Msg], None]:
    start: int | None = 1
    while start is not None:
        page = await _page(connection, stream, subject, start)
        start = None
        if page and int(headers(page[-1]).get("Nats-Num-Pending", "0")):
            start = sequence(page[-1]) + 1
        yield page


async def _page(connection: Connection, stream: str, subject: str, start: int) -> list[Msg]:
    """Up to a page of messages from sequence `start` on, by a batched direct get."""
    client = connection.client()
    question = {"seq": start, "next_by_subj": subject, "batch": _SCAN_PAGE}
    inbox = client.new_inbox()
    page: list[Msg] = []
    ended = anyio.Event()

    async def hear(message: Msg) -> None:
        page.append(message)
        if "Status" in headers(message):
            ended.set()

    subscription = None
    try:
        with anyio.fail_after(_SCAN_TIMEOUT):
            subscription = await client.subscribe(inbox, cb=hear)
            await client.publish(
                f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode(question), reply=inbox
            )
            await ended.wait()
    except TimeoutError:
        raise BusUnavailable(f"{subject}: no answer within {_SCAN_TIMEOUT:g} s") from None
    except (Error, OSError) as error:
        raise BusUnavailable(f"{subject}: {error}") from None
    finally:
        if subscription is not None:
            connection.spawn(unsubscribe, subscription)
    status = headers(page.pop()).get("Status")
    if status not in ("204", "404"):  # the end of the page; nothing at all
        raise BusUnavailable(f"{subject}: {stream} answered {status}")
    return page
