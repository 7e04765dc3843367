"""A subject and the type of its message, as one value: the type checker knows what comes back."""

from typing import Generic, TypeVar

import msgspec

from common.errors import InvalidMessage

M = TypeVar("M", bound=msgspec.Struct)
Q = TypeVar("Q", bound=msgspec.Struct)
A = TypeVar("A", bound=msgspec.Struct)

_encoder = msgspec.json.Encoder()


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """Something retained on the bus. A thing that is gone is a tombstone, never silence."""

    deleted: bool = False


class Topic(Generic[M]):
    """A subject (it may hold wildcards) on which messages of one type travel."""

    __slots__ = ("_decoder", "message", "subject")

    def __init__(self, subject: str, message: type[M]) -> None:
        self.subject = subject
        self.message = message
        self._decoder = msgspec.json.Decoder(message)

    def __repr__(self) -> str:
        return f"<Topic {self.subject} {self.message.__name__}>"

    def encode(self, message: M) -> bytes:
        """The message as it travels: one JSON object."""
        return _encoder.encode(message)

    def decode(self, payload: bytes) -> M:
        """Read a message; raises InvalidMessage that names the path of the offending field."""
        try:
            return self._decoder.decode(payload)
        # A validation error is a decode error; nesting without end is a recursion error.
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidMessage(f"not a {self.message.__name__}: {error}") from None


class State(Topic[M]):
    """A topic whose last value is retained: written under `put.`, heard by followers once stored."""

    __slots__ = ("stream",)

    def __init__(self, stream: str, subject: str, message: type[M]) -> None:
        super().__init__(subject, message)
        self.stream = stream

    @property
    def written(self) -> str:
        """The subject under which the publisher writes: `tulle.v1.x` is written to `put.v1.x`."""
        return "put." + self.subject.removeprefix("tulle.")


class Question(Generic[Q, A]):
    """A subject on which a service answers questions of one type with answers of another."""

    __slots__ = ("answer", "question", "subject")

    def __init__(self, subject: str, question: type[Q], answer: type[A]) -> None:
        self.subject = subject
        self.question: Topic[Q] = Topic(subject, question)
        self.answer: Topic[A] = Topic(subject, answer)
