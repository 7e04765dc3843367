"""The house rules that no linter knows: front doors tell the truth, names are ours, words are unique."""

import ast
import importlib.metadata
import os
import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from common.errors import MeshError
from docs.generate import PAGES

ROOT = Path(__file__).parent.parent
ROOMS = ("common", "services", "proxy", "cli", "demo")
SOURCES = [
    path
    for folder in (*ROOMS, "tests", "docs", "packaging", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
FRONT_DOORS = [path for path in SOURCES if path.name == "__init__.py" and "tests" not in path.parts]
# "    transport/   a connection arrives": a name, two spaces, what it is for.
ENTRY = re.compile(r"^ *([a-z_0-9]+)/? {2,}\S", re.M)
# Where somebody's checkout lies, or where their packages come from, is nobody else's business.
STRAY = re.compile(r"(?<![\w.])/(?:work|root|farm)/|index-url|https?://\S*/simple\b")


def short(path: Path) -> str:
    return str(path.relative_to(ROOT))


def written_files() -> Iterator[Path]:
    """Every file that people wrote, whether git knows it yet or not."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [f for f in folders if f not in ("dist", "__pycache__") and f[0] != "."]
        if Path(folder) == ROOT:
            folders.append(".ci")
        yield from (Path(folder, file) for file in files if not file.endswith((".pyc", ".png")))


@pytest.mark.parametrize("path", SOURCES, ids=short)
def test_a_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), (
        "a module begins by saying what it is for"
    )


@pytest.mark.parametrize("path", FRONT_DOORS, ids=short)
def test_a_front_door_lists_what_is_behind_it(path: Path) -> None:
    listed = ENTRY.findall(ast.get_docstring(ast.parse(path.read_text())) or "")
    behind = {p.stem for p in path.parent.glob("*.py")} | {
        p.name for p in path.parent.iterdir() if p.is_dir() and any(p.glob("*.py"))
    }

    assert len(listed) == len(set(listed)), "each once"
    assert not [name for name in listed if not any(path.parent.glob(f"{name}*"))], (
        "what is listed is there"
    )
    # Behind a door with three or four things one finds one's way without a list.
    if listed or len(behind) > 4:
        assert behind - {"__init__", "__main__", *listed} == set(), "what is there is listed"


def test_our_names_are_ours() -> None:
    owners = importlib.metadata.packages_distributions()
    names = (*ROOMS, "tests", "tulle_rooms")

    assert not {name: owners[name] for name in names if set(owners.get(name, [])) - {"tulle"}}


def test_every_way_to_say_no_has_one_word_of_its_own() -> None:
    reasons: dict[str, type[MeshError]] = {}
    for error in _errors():
        assert "reason" in vars(error), f"{error.__name__} says no word of its own"
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", error.reason), f"{error.reason!r} is not one word"
        assert reasons.setdefault(error.reason, error) is error, f"{error.reason!r} is said by two"
        assert error.__doc__, f"{error.__name__} does not say when it is raised"


def _errors() -> list[type[MeshError]]:
    """MeshError and everything below it, wherever it is defined."""
    for room in ROOMS:
        for module in pkgutil.walk_packages([str(ROOT / room)], f"{room}."):
            if not module.name.endswith(".__main__"):
                import_module(module.name)
    found = [MeshError]
    for error in found:
        found.extend(error.__subclasses__())
    return found


@pytest.mark.parametrize("page", PAGES)
def test_a_generated_page_says_what_the_code_says(page: str) -> None:
    assert (ROOT / "docs" / page).read_text() == PAGES[page](), "run: make docs"


def test_no_file_names_one_machine_or_where_its_packages_came_from() -> None:
    here = Path(__file__)
    stray = {
        short(path): found.group()
        for path in written_files()
        if path != here and (found := STRAY.search(path.read_text(errors="replace")))
    }

    assert not stray


def test_a_link_in_a_document_leads_somewhere() -> None:
    broken = [
        f"{short(page)}: {target}"
        for page in written_files()
        if page.suffix == ".md"
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / target).exists()
    ]

    assert not broken


def test_every_decision_has_a_number_of_its_own_and_is_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    pages = sorted(path.name for path in folder.glob("[0-9]*.md"))
    titles = [(folder / page).read_text().split(maxsplit=2)[1] for page in pages]
    listed = re.findall(r"\(([0-9]{4}-[a-z0-9-]+\.md)\)", (folder / "README.md").read_text())

    assert titles == [f"{number:04}" for number in range(1, len(pages) + 1)]
    assert [page[:4] for page in pages] == titles
    assert listed == pages
