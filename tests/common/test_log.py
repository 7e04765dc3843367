"""Log lines: one an event, whatever is in it."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from common.bus.complaints import Complaints
from common.log import Format, Json, Plain, fields, set_level, setup

log = logging.getLogger("common.test")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Leave logging as pytest had set it up."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def logged(form: Format) -> io.StringIO:
    stream = io.StringIO()
    setup("info", form, stream)
    return stream


def test_a_plain_line_has_the_time_the_level_who_what_and_the_fields() -> None:
    stream = logged("plain")
    log.info(
        "certified", extra=fields(identity="spiffe://a/ns/b/sa/c", seconds=1.5, why="two words")
    )

    _, _, said = stream.getvalue().partition(" ")
    assert said == (
        'info common.test: certified identity=spiffe://a/ns/b/sa/c seconds=1.5 why="two words"\n'
    )


def test_a_json_line_is_one_object() -> None:
    stream = logged("json")
    log.warning("refused", extra=fields(subject="a.b", level="not the level"))

    document = json.loads(stream.getvalue())
    assert document.pop("time").startswith("20")
    assert document == {
        "level": "warning",
        "logger": "common.test",
        "message": "refused",
        "subject": "a.b",
    }


@pytest.mark.parametrize("form", ["plain", "json"])
def test_nothing_that_came_over_the_wire_can_forge_a_second_line(form: Format) -> None:
    stream = logged(form)
    evil = "x\n12:00:00.000 info common: all is well\r\x1b[2J"
    log.info(evil, extra=fields(a=evil, b=evil.encode()))

    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("form", ["plain", "json"])
def test_an_exception_comes_with_its_traceback(form: Format) -> None:
    stream = logged(form)
    try:
        raise ZeroDivisionError("oops")
    except ZeroDivisionError:
        log.exception("failed")

    assert "ZeroDivisionError: oops" in stream.getvalue()


def test_the_level_changes_at_once() -> None:
    stream = logged("plain")
    log.debug("one")
    set_level("debug")
    log.debug("two")
    set_level("error")
    log.warning("three")

    assert [line.split()[-1] for line in stream.getvalue().splitlines()] == ["two"]


def test_messages_of_other_libraries_with_their_own_fields_are_printed() -> None:
    record = logging.LogRecord("x", logging.INFO, "f", 1, "%s and %s", ("a", "b"), None)
    record.fields = "not ours"

    assert Plain().format(record).endswith("info x: a and b")
    assert json.loads(Json().format(record))["message"] == "a and b"


def test_trouble_is_told_once_a_kind_until_it_clears(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    complaints = Complaints(log)
    complaints.clear("a", "nothing was wrong")
    for _ in range(3):
        complaints.say("a", "trouble a")
    complaints.say("b", "trouble b")
    complaints.clear("a", "a is well")
    complaints.say("a", "trouble a again")
    complaints.forget("b")
    complaints.say("b", "trouble b again")

    assert caplog.messages == [
        *("trouble a", "trouble b", "a is well", "trouble a again", "trouble b again")
    ]


def test_kinds_of_trouble_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    complaints = Complaints(log, most_kinds=3)
    for n in range(100):
        complaints.say(f"{n}", f"trouble {n}")

    assert caplog.messages == [
        *("trouble 0", "trouble 1", "trouble 2", "more kinds of trouble than are logged one by one")
    ]
