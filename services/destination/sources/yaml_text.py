"""YAML text → plain values, bounded; and the line where each value stands.

Scalars are read as in YAML 1.2 (`yes` and `on` are texts, dates too). Refused are aliases, with which a
few bytes can stand for gigabytes; tags, which are a way to make objects; a key twice in one mapping; and
nesting deeper than DEPTH_LIMIT. Time and memory are in proportion to the text.
"""

import math
import re
from typing import Any

import msgspec
import yaml

from common.errors import MeshError
from services.destination.fields import Path, spell

Lines = dict[tuple[int, Path], int]
"""The line (from 1) of each value, by the number of its document (from 0) and its path there."""
DEPTH_LIMIT = 50
LOADER: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_INT = re.compile(r"[-+]?\d{1,18}")
_FLOAT = re.compile(r"[-+]?(\.\d{1,40}|\d{1,40}(\.\d{0,40})?)([eE][-+]?\d{1,3})?")
_WORDS: dict[str, object] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", "+.inf", ".Inf"), math.inf),
}


class InvalidYaml(MeshError):
    """The text is not YAML as it is understood here; `line` (from 1) says where."""

    reason = "invalid-yaml"

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class Parsed(msgspec.Struct):
    """One document of a text: plain dicts, lists and scalars."""

    value: object
    line: int
    """Where it begins, from 1."""


def parse(text: str, lines: Lines | None = None) -> list[Parsed]:
    """The documents of a text; raises InvalidYaml. An empty document has the value None.

    `lines`, if given, is filled with the line of every value.
    """
    builder = _Builder(lines)
    try:
        for event in yaml.parse(text, Loader=LOADER):
            builder.feed(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = " ".join(filter(None, (error.context, error.problem)))
        raise InvalidYaml(mark.line + 1 if mark else 1, words or "not YAML") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InvalidYaml(line, f"character {error.character!r}: {error.reason}") from None
    return builder.documents


def line_of(lines: Lines, document: int, path: Path) -> int:
    """The line of the value at `path`, or of the nearest that holds it."""
    while path and (document, path) not in lines:
        path = path[:-1]
    return lines.get((document, path), 1)


class _Builder:
    """Makes values from events, without recursion, so that no text can exhaust the stack."""

    def __init__(self, lines: Lines | None) -> None:
        self.documents: list[Parsed] = []
        self._lines = lines
        self._open: list[Any] = []
        """Containers being filled, innermost last."""
        self._keys: list[str | None] = []
        """For each of them the key whose value is being made; None in a list and between pairs."""

    def feed(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._start(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._open.pop()
            self._keys.pop()
            self._complete()
        elif isinstance(event, yaml.AliasEvent):
            raise _refusal(event, "aliases (*name) are not allowed: write the value out")

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        if event.tag not in (None, "!", "tag:yaml.org,2002:str"):
            raise _refusal(event, f"tag {event.tag!r} is not allowed")
        if self._wants_key():
            self._key(event)
            return
        plain = event.implicit[0] and event.tag is None
        self._add(_plain(event.value) if plain else event.value, event)
        self._complete()

    def _start(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent) -> None:
        if event.tag not in (None, "!"):
            raise _refusal(event, f"tag {event.tag!r} is not allowed")
        if self._wants_key():
            raise _refusal(event, "expected a text as key")
        if len(self._open) >= DEPTH_LIMIT:
            raise _refusal(event, f"nested deeper than {DEPTH_LIMIT}")
        container: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._add(container, event)
        self._open.append(container)
        self._keys.append(None)

    def _wants_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1], dict) and self._keys[-1] is None

    def _key(self, event: yaml.ScalarEvent) -> None:
        self._keys[-1] = event.value
        if event.value in self._open[-1]:
            raise _refusal(event, f"{spell(self._path())} is there twice")

    def _add(self, value: object, event: yaml.Event) -> None:
        line = _line(event)
        if not self._open:
            self.documents.append(Parsed(value, line))
        elif isinstance(self._open[-1], list):
            self._open[-1].append(value)
        else:
            self._open[-1][self._keys[-1]] = value
        if self._lines is not None:
            self._lines[len(self.documents) - 1, self._path()] = line

    def _complete(self) -> None:
        if self._keys:
            self._keys[-1] = None

    def _path(self) -> Path:
        pairs = zip(self._open, self._keys, strict=True)
        return tuple(len(box) - 1 if key is None else key for box, key in pairs)


def _refusal(event: yaml.Event, message: str) -> InvalidYaml:
    return InvalidYaml(_line(event), message)


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _plain(text: str) -> object:
    """What a scalar without quotes stands for (YAML 1.2 §10.3.2, without octal and hexadecimal)."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
