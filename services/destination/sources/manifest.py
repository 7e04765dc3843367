"""The bytes of one file → resources, or every mistake with its line. Pure and total."""

import msgspec

from services.destination.fields import Path, spell
from services.destination.kinds import Reading, read
from services.destination.resources import Ref, Resource
from services.destination.sources.files import FILE_LIMIT
from services.destination.sources.yaml_text import InvalidYaml, Lines, line_of, parse


class Mistake(msgspec.Struct, frozen=True, order=True):
    """What is wrong, and where."""

    line: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"line {self.line}"
        return f"{where}: {self.path}: {self.message}" if self.path else f"{where}: {self.message}"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says. Where there are mistakes it has no resources: half a file is not obeyed."""

    resources: tuple[Resource, ...] = ()
    ignored: tuple[str, ...] = ()
    """`apiVersion/kind` of documents that are not for the mesh."""
    remarks: tuple[str, ...] = ()
    """What is in order, but does not have the effect that one might expect."""
    mistakes: tuple[Mistake, ...] = ()


def read_manifest(content: bytes) -> Manifest:
    """Read a file's content, YAML documents in UTF-8."""
    if len(content) > FILE_LIMIT:
        return _wrong(1, f"expected at most {FILE_LIMIT} bytes: use several files")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return _wrong(content.count(b"\n", 0, error.start) + 1, f"not UTF-8: {error.reason}")
    try:
        readings = [read(d.value) if d.value is not None else Reading() for d in parse(text)]
    except InvalidYaml as error:
        return _wrong(error.line, str(error))
    mistakes = {(n, path): m for n, r in enumerate(readings) for path, m in r.mistakes.items()}
    mistakes = mistakes or _doubles(readings)
    if mistakes:
        return Manifest(mistakes=_with_lines(text, mistakes))
    return Manifest(
        resources=tuple(resource for r in readings for _, resource in r.resources),
        ignored=tuple(dict.fromkeys(kind for r in readings for kind in r.ignored)),
        remarks=tuple(remark for r in readings for remark in r.remarks),
    )


def _wrong(line: int, message: str) -> Manifest:
    return Manifest(mistakes=(Mistake(line, "", message),))


def _doubles(readings: list[Reading]) -> dict[tuple[int, Path], str]:
    seen: set[Ref] = set()
    doubles = {}
    for number, reading in enumerate(readings):
        for path, resource in reading.resources:
            if resource.ref in seen:
                doubles[number, (*path, "metadata", "name")] = f"{resource.ref} is there twice"
            seen.add(resource.ref)
    return doubles


def _with_lines(text: str, mistakes: dict[tuple[int, Path], str]) -> tuple[Mistake, ...]:
    # Lines are wanted so rarely that the text is read again for them.
    lines: Lines = {}
    parse(text, lines)
    return tuple(
        sorted(
            Mistake(line_of(lines, number, path), spell(path), message)
            for (number, path), message in mistakes.items()
        )
    )
