"""Write the pages of docs/ that the code itself can tell, so that they cannot say anything else.

    python -m docs.generate      (make docs)

A test compares the pages with what this would write.
"""

import ast
import inspect
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from common.config import variable
from common.contract import discovery, events, identity, leaves, subjects, telemetry
from common.contract.topic import Document, Question, State, Topic
from common.names import Identity, ServiceName, WorkloadName
from docs import checks_page, permissions_page, rights_page

HERE = Path(__file__).parent
FAMILIES: tuple[ModuleType, ...] = (discovery, identity, leaves, telemetry, events)
PROGRAMS = {
    "python -m proxy": "proxy.settings",
    "python -m services.identity": "services.identity.settings",
    "python -m services.destination": "services.destination.settings",
    "python -m services.injector": "services.injector.settings",
    "python -m services.telemetry": "services.telemetry.settings",
}

# Stand-ins that no subject contains by itself; a page shows the placeholder instead.
SAMPLES: dict[Any, tuple[Any, dict[str, str]]] = {
    ServiceName: (ServiceName("q1", "q2"), {"q1": "NAMESPACE", "q2": "SERVICE"}),
    WorkloadName: (WorkloadName("q1", "q3"), {"q1": "NAMESPACE", "q3": "WORKLOAD"}),
    Identity: (Identity("q1", "q4"), {"q1": "NAMESPACE", "q4": "SERVICE-ACCOUNT"}),
}

SUBJECTS_HEAD = """# The bus: every subject and its message

*Written by `make docs` from `common/contract/`; do not edit.*

Everything that one part of Tulle tells another is a JSON message on one of these subjects. Placeholders:
a dot in a name is spelled `_`, an IP address has `-` for `.` and `:` (IPv6 in full). Watch them go by with
`tulle bus sub 'tulle.v1.>'`.

*State* is retained: the publisher writes it under `put.v1.…` with the revision it replaces, the stream stores
it, and only then do followers hear it under `tulle.v1.…`. Its revision is its sequence in the stream. A thing
that is gone is a tombstone: the document with `"deleted": true`. A *topic* is heard by who listens now; the
streams `tulle_events` and `tulle_lifecycles` keep events and lifecycles for hours. A *question* is answered
by a service.

Fields may be added, never renamed or given another meaning; unknown fields are ignored.
"""

SETTINGS_HEAD = """# Settings of the programs

*Written by `make docs` from the programs' settings; do not edit.*

Programs are told what to do by environment variables, read once at start. A list is separated by commas; an
empty value counts as not given. All mistakes are reported together, each with its variable and what was
expected. What can change while the mesh runs is a document on the bus instead: `MeshSettings` in the
destination's directory, see `Settings` in [subjects.md](subjects.md).
"""


def subjects_page() -> str:
    """docs/subjects.md: one table of subjects, then the fields of every message."""
    rows = [_subject_row(function) for function in _own_functions(subjects) if _spells(function)]
    table = "\n".join(["| subject | kind | message | |", "|---|---|---|---|", *rows])
    families = "\n".join(_family(module) for module in FAMILIES)
    return f"{SUBJECTS_HEAD}\n{table}\n{families}"


def settings_page() -> str:
    """docs/settings.md: one table of variables a program."""
    parts = [SETTINGS_HEAD]
    for command, name in PROGRAMS.items():
        module = import_module(name)
        parts.append(f"\n## `{command}`\n\n{_settings_table(module, module.Settings)}\n")
    return "".join(parts)


def permissions_page_() -> str:
    """docs/permissions.md: a table for everybody who uses the bus."""
    spelling = [function for function in _own_functions(subjects) if _spells(function)]
    return permissions_page.page({_sampled(each)[0]: _first_line(each) for each in spelling})


def _own_functions(module: ModuleType) -> Iterator[Callable[..., Any]]:
    for value in vars(module).values():
        if inspect.isfunction(value) and value.__module__ == module.__name__:
            yield value


def _spells(function: Callable[..., Any]) -> bool:
    """True for a function that spells a subject; others read one."""
    back = get_type_hints(function)["return"]
    return get_origin(back) in (Question, State, Topic)


def _subject_row(function: Callable[..., Any]) -> str:
    subject, topic = _sampled(function)
    doc = _first_line(function)
    match topic:
        case Question():
            said = f"{_link(topic.question.message)} → {_link(topic.answer.message)}"
            return f"| `{subject}` | question | {said} | {doc} |"
        case State():
            return f"| `{subject}` | state in `{topic.stream}` | {_link(topic.message)} | {doc} |"
        case Topic():
            return f"| `{subject}` | topic | {_link(topic.message)} | {doc} |"
    raise TypeError(f"{function.__name__} spells no subject")


def _sampled(function: Callable[..., Any]) -> tuple[str, Any]:
    """The function's subject with placeholders, and what it returned."""
    shown: dict[str, str] = {}
    arguments = []
    for name, hint in get_type_hints(function).items():
        if name == "return":
            continue
        if hint in SAMPLES:
            sample, places = SAMPLES[hint]
        elif name in ("ip", "address"):
            sample, places = "192.0.2.77", {"192-0-2-77": "IP"}
        else:
            sample = f"q-{name.replace('_', '-')}"
            places = {sample: name.removesuffix("_name").upper()}
        arguments.append(sample)
        shown.update(places)
    topic = function(*arguments)
    tokens = topic.subject.split(".")
    for stand_in, place in shown.items():
        tokens = [token.replace(stand_in, place) for token in tokens]
    return ".".join(tokens), topic


def _family(module: ModuleType) -> str:
    parts = [f"\n## {module.__name__.rpartition('.')[2].capitalize()}\n\n{_first_line(module)}\n"]
    for struct in _structs(module):
        rows = [
            f"| `{name}` | `{kind}` | {default} | {words} |"
            for name, kind, default, words in _fields(module, struct)
        ]
        table = "\n".join(["| field | type | default | |", "|---|---|---|---|", *rows])
        retained = " Retained." if issubclass(struct, Document) else ""
        parts.append(f"\n### {struct.__name__}\n\n{_first_line(struct)}{retained}\n\n{table}\n")
    return "".join(parts)


def _structs(module: ModuleType) -> Iterator[type[msgspec.Struct]]:
    for value in vars(module).values():
        ours = getattr(value, "__module__", "") == module.__name__
        if ours and isinstance(value, type) and issubclass(value, msgspec.Struct):
            yield value


def _fields(module: ModuleType, struct: type) -> Iterator[tuple[str, str, str, str]]:
    """Name, type, default and the words below it, as they stand in the source."""
    tree = ast.parse(inspect.getsource(module))
    aliases = {
        n.targets[0].id: _kind(n.value)
        for n in tree.body
        if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name)
    }
    body = next(
        n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == struct.__name__
    )
    for field, after in zip(body, [*body[1:], None], strict=True):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        kind, default = _kind(field.annotation), "required"
        kind = aliases.get(kind, kind)
        if field.value is not None:
            default = f"`{ast.unparse(field.value)}`"
        words = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            words = inspect.cleandoc(str(after.value.value)).replace("\n", " ")
        yield field.target.id, kind.replace("|", "or"), default, words


def _kind(annotation: ast.expr) -> str:
    """The type as it stands there; bounds in words: `int, 1 to 300`."""
    if not (isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Annotated"):
        return ast.unparse(annotation)
    assert isinstance(annotation.slice, ast.Tuple)
    inner, *notes = annotation.slice.elts
    bounds = [ast.unparse(k) for n in notes if isinstance(n, ast.Call) for k in n.keywords]
    signs = {"ge=": "≥ ", "gt=": "> ", "le=": "≤ ", "lt=": "< "}
    spelled = [signs[b[:3]] + b[3:] for b in bounds if b[:3] in signs]
    return ", ".join([ast.unparse(inner), *spelled])


def _settings_table(module: ModuleType, struct: type[msgspec.Struct]) -> str:
    hints = get_type_hints(struct, include_extras=True)
    below = {name: words for name, _, _, words in _fields(module, struct)}
    rows = ["| variable | default | |", "|---|---|---|"]
    for field in msgspec.structs.fields(struct):
        default = "required" if field.required else _shown(field)
        hint = hints[field.name]
        words = "; ".join(filter(None, (_described(hint), _choices(hint), below[field.name])))
        rows.append(f"| `{variable(field.name)}` | {default} | {words} |")
    return "\n".join(rows)


def _shown(field: Any) -> str:
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return f"`{text}`" if text else "none"


def _described(hint: Any) -> str:
    """The description nearest to the outside of a type."""
    for note in getattr(hint, "__metadata__", ()):
        if isinstance(note, msgspec.Meta) and note.description:
            return note.description.replace("|", "\\|")
    return next((words for part in get_args(hint) if (words := _described(part))), "")


def _choices(hint: Any) -> str:
    """What a Literal allows; empty for other types."""
    if get_origin(hint) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(hint))
    return _choices(get_args(hint)[0]) if get_origin(hint) is Annotated else ""


def _first_line(thing: object) -> str:
    doc = inspect.getdoc(thing) or ""
    return doc.split("\n\n")[0].replace("\n", " ")


def _link(message: type) -> str:
    return f"[{message.__name__}](#{message.__name__.lower()})"


PAGES = {
    "subjects.md": subjects_page,
    "settings.md": settings_page,
    "permissions.md": permissions_page_,
    "checks.md": checks_page.page,
    "rights.md": rights_page.page,
}

if __name__ == "__main__":
    for page, write in PAGES.items():
        (HERE / page).write_text(write())
        sys.stdout.write(f"docs/{page}\n")
