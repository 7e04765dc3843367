"""JSON patches (RFC 6902): made step by step, and applied.

A `Draft` remembers how the document looks after what it was told, so that each step is as small as it can
be: one key where the mapping is there, the whole mapping where it is not.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

Pointer = tuple[str, ...]


class Operation(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step of a patch; `value` counts for `add` only."""

    op: Literal["add", "remove"]
    path: str
    value: Any = None

    @property
    def pointer(self) -> list[str]:
        """The path's parts (RFC 6901)."""
        parts = self.path.split("/")[1:]
        return [part.replace("~1", "/").replace("~0", "~") for part in parts]


def spell(pointer: Pointer) -> str:
    """A path as RFC 6901 writes it."""
    parts = (part.replace("~", "~0").replace("/", "~1") for part in pointer)
    return "".join(f"/{part}" for part in parts)


class Draft:
    """A patch for `document` in the making; the document stays as it is."""

    def __init__(self, document: Any, at: Pointer = ()) -> None:
        self.operations: list[Operation] = []
        self._document = copied(document)
        self._at = at

    def value(self, *path: str) -> Any:
        """What now stands at a path of names; None if nothing does."""
        return _at(self._document, (*self._at, *path))

    def put(self, path: tuple[str, ...], values: Mapping[str, str]) -> None:
        """Have these keys in the mapping at `path`; what has them already costs nothing."""
        there = self.value(*path)
        if not isinstance(there, dict):
            if values:
                self._add(path, dict(values))
            return
        for key, value in values.items():
            if there.get(key) != value:
                self._add((*path, key), value)

    def insert(self, path: tuple[str, ...], index: int | None, items: list[Any]) -> None:
        """Put items into the list at `path`, before `index` or at the end."""
        if not self.value(*path):
            self._add(path, items)
            return
        full = (*self._at, *path)
        for offset, item in enumerate(items):
            last = "-" if index is None else str(index + offset)
            self._do(Operation("add", spell((*full, last)), item))

    def drop(self, path: tuple[str, ...], keys: set[str]) -> None:
        """Have none of these keys in the mapping at `path`; one that held nothing else goes too."""
        there = self.value(*path)
        found = [key for key in there if key in keys] if isinstance(there, dict) else []
        self._remove(path, there, found)

    def take(self, path: tuple[str, ...], names: set[str]) -> None:
        """Have no item of one of these names in the list at `path`; one that held nothing else goes too."""
        there = self.value(*path)
        items = enumerate(there) if isinstance(there, list) else ()
        found = [n for n, item in items if isinstance(item, dict) and item.get("name") in names]
        # From the end, so that the numbers before stay true.
        self._remove(path, there, found[::-1])

    def _remove(self, path: Pointer, there: Any, keys: list[Any]) -> None:
        if keys and len(keys) == len(there):
            self._do(Operation("remove", spell((*self._at, *path))))
            return
        for key in keys:
            self._do(Operation("remove", spell((*self._at, *path, str(key)))))

    def _add(self, path: Pointer, value: Any) -> None:
        full = (*self._at, *path)
        # A template without metadata gets one.
        for depth in range(1, len(full)):
            if _at(self._document, full[:depth]) is None:
                nested = value
                for part in reversed(full[depth:]):
                    nested = {part: nested}
                self._do(Operation("add", spell(full[:depth]), nested))
                return
        self._do(Operation("add", spell(full), value))

    def _do(self, operation: Operation) -> None:
        apply(self._document, [operation])
        self.operations.append(operation)


def _at(document: Any, pointer: Pointer) -> Any:
    for part in pointer:
        document = document.get(part) if isinstance(document, dict) else None
    return document


def apply(document: Any, operations: list[Operation]) -> None:
    """Change a document as a patch says; raises KeyError or IndexError where it does not fit."""
    for operation in operations:
        *parents, last = operation.pointer
        box = document
        for part in parents:
            box = box[int(part) if isinstance(box, list) else part]
        if isinstance(box, list):
            _apply_to_list(box, last, operation)
        elif operation.op == "add":
            box[last] = copied(operation.value)
        else:
            del box[last]


def _apply_to_list(box: list[Any], last: str, operation: Operation) -> None:
    index = len(box) if last == "-" else int(last)
    if operation.op == "remove":
        del box[index]
    elif index <= len(box):
        box.insert(index, copied(operation.value))
    else:
        raise IndexError(operation.path)


def copied(value: Any) -> Any:
    """A document of its own: mappings and lists anew, scalars as they are."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    return [copied(item) for item in value] if isinstance(value, list) else value
