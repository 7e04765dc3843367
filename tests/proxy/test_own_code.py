"""Copies of inherited methods: each class has its own, and they do what the originals do."""

from proxy.session.http2_client import ClientStream, Http2Client
from proxy.session.http2_connection import Http2Connection
from proxy.session.http2_server import Http2Server, ServerStream
from proxy.session.http2_stream import Http2Stream
from proxy.session.own_code import own_code


class Base:
    def __init__(self, word: str = "w") -> None:
        self.word = word

    def say(self, *, times: int = 2) -> str:
        """What it says."""
        return self.word * times

    def shout(self) -> str:
        return self.say().upper()


Base.__module__ = "proxy.base"


class Loud(Base):
    def say(self, *, times: int = 2) -> str:
        return super().say(times=times) + "!"


Loud.__module__ = "proxy.loud"


@own_code
class Louder(Loud):
    pass


@own_code
class Quiet(Base):
    def shout(self) -> str:
        return super().shout() + "."


def test_a_copy_does_what_the_original_does() -> None:
    quiet = Quiet("a")

    assert quiet.say() == "aa"
    assert quiet.say(times=3) == "aaa"
    assert Quiet().say() == "ww"
    assert quiet.shout() == "AA."
    assert Quiet.say.__doc__ == "What it says."
    assert Quiet.say.__qualname__ == "Base.say"


def test_what_a_nearer_class_overrides_stays_overridden() -> None:
    assert Louder("a").say() == "aa!"
    assert Louder("a").shout() == "AA!"
    assert Louder.say.__code__ is not Loud.say.__code__


def test_a_copy_has_code_of_its_own() -> None:
    assert Quiet.say is not Base.say
    assert Quiet.say.__code__ is not Base.say.__code__
    assert Quiet.say.__code__ == Base.say.__code__


def test_both_ends_of_http2_share_no_code_object_that_is_run_for_each_frame() -> None:
    for name in ("take", "write", "send_block", "forget", "known"):
        codes = {id(getattr(c, name).__code__) for c in (Http2Connection, Http2Server, Http2Client)}
        assert len(codes) == 3, name
    for name in ("data", "send", "finish", "__init__"):
        codes = {id(getattr(c, name).__code__) for c in (Http2Stream, ServerStream, ClientStream)}
        assert len(codes) == 3, name
