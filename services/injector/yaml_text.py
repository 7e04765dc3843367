"""YAML that is changed in places and otherwise stays as it was: its order, and how its scalars are spelled.

What Kubernetes and this module might read differently (`yes`, `1e3`, `0777`, `12:30`) is kept as it stands,
with or without its quotes. Comments and aliases are lost in a document that is changed.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
import yaml

from common.errors import MeshError

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STR, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
_DEPTH_LIMIT = 100
_NODE_LIMIT = 1_000_000
"""Nodes of one document once its aliases are written out: with these a few bytes can mean gigabytes."""
_PLAIN = {"true": True, "false": False, "null": None, "": None, "~": None}


class InvalidManifest(MeshError):
    """A file is not YAML, or not as a manifest must be; the message says where."""

    reason = "invalid-manifest"


class Spelled(str):
    """A text in the style in which it was written, or anything else as it stood there."""

    __slots__ = ("style", "tag")
    tag: str
    style: str | None


class Part(msgspec.Struct):
    """One document of a stream: its text, and its value."""

    text: str
    value: Any


def parse(text: str) -> list[Part]:
    """The documents of a stream, in order; raises InvalidManifest that names the line."""
    try:
        nodes = list(yaml.compose_all(text, Loader=_LOADER))
        starts = [
            event.start_mark.index
            for event in yaml.parse(text, Loader=_LOADER)
            if isinstance(event, yaml.DocumentStartEvent) and event.start_mark
        ]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise InvalidManifest(f"{where}{error.problem or error.context or 'not YAML'}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise InvalidManifest(" ".join(str(error).split())) from None
    # What stands before the first document, comments say, belongs to it.
    starts[:1] = [0]
    ends = [*starts[1:], len(text)]
    values = (_Values().of(node, 0) for node in nodes)
    return [Part(text[a:b], v) for a, b, v in zip(starts, ends, values, strict=True)]


def dump(value: Any) -> str:
    """One document as text, without a mark at its start; long lines stay long."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1 << 20))


class _Values:
    """Nodes → plain values, each of its own even where the text had an alias."""

    def __init__(self) -> None:
        self._left = _NODE_LIMIT

    def of(self, node: yaml.Node, depth: int) -> Any:
        self._left -= 1
        if self._left < 0 or depth > _DEPTH_LIMIT:
            raise _wrong(node, "expected a document of reasonable size and depth")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.of(item, depth + 1) for item in node.value]
        return _scalar(node)

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key, item in node.value:
            if key.tag == _MERGE:
                for part in self._merged(item, depth):
                    merged = part | merged
                continue
            if not isinstance(key, yaml.ScalarNode):
                raise _wrong(key, "expected a text as key")
            if key.value in found:
                raise _wrong(key, f"{key.value!r} is there twice")
            found[_scalar(key) if key.tag != _STR else key.value] = self.of(item, depth + 1)
        return found | {name: item for name, item in merged.items() if name not in found}

    def _merged(self, node: yaml.Node, depth: int) -> Iterator[dict[str, Any]]:
        parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for part in parts:
            value = self.of(part, depth + 1)
            if not isinstance(value, dict):
                raise _wrong(node, "expected a mapping to merge")
            yield value


def _scalar(node: Any) -> Any:
    text = str(node.value)
    if node.tag != _STR and not node.style:
        if text in _PLAIN:
            return _PLAIN[text]
        if text.isascii() and text.isdigit() and str(int(text[:30])) == text:
            return int(text)
    spelled = Spelled(text)
    spelled.tag, spelled.style = node.tag, node.style
    return spelled


def _wrong(node: yaml.Node, message: str) -> InvalidManifest:
    return InvalidManifest(f"line {node.start_mark.line + 1}: {message}")


class _Dumper(yaml.SafeDumper):
    """Writes what `parse` read."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _write_spelled(dumper: yaml.SafeDumper, text: Spelled) -> yaml.Node:
    return dumper.represent_scalar(text.tag, str(text), style=text.style)


def _write_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar(_STR, text, style="|" if "\n" in text else None)


_Dumper.add_representer(Spelled, _write_spelled)
_Dumper.add_representer(str, _write_text)
