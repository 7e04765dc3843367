"""A document read field by field: every mistake is noted with its path, and reading goes on.

Readers never raise. What is absent or wrong yields the default; whoever reads asks at the end whether
there were mistakes, and uses the result only if there were none.
"""

from collections.abc import Callable
from typing import TypeVar

from common.errors import InvalidName

Path = tuple[str | int, ...]
T = TypeVar("T", bound=str)


def spell(path: Path) -> str:
    """A path as people write it: `spec.ports[0].name`; `metadata.labels[a.b/c]` where a key has dots."""
    text = ""
    for step in path:
        if isinstance(step, int) or "." in step or "/" in step:
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text or "document"


class Field:
    """A value somewhere in a document, and the notes on what is wrong anywhere in it."""

    __slots__ = ("mistakes", "path", "value")

    def __init__(
        self, value: object, path: Path = (), mistakes: dict[Path, str] | None = None
    ) -> None:
        self.value = value
        self.path = path
        self.mistakes: dict[Path, str] = {} if mistakes is None else mistakes
        """What was expected, by path; shared by all fields of a document."""

    def __getitem__(self, name: str) -> "Field":
        """A member of this mapping; absent (None) if there is none."""
        value = self.value
        if isinstance(value, dict):
            return Field(value.get(name), (*self.path, name), self.mistakes)
        if value is not None:
            self.wrong("a mapping")
        return Field(None, (*self.path, name), self.mistakes)

    @property
    def absent(self) -> bool:
        """Nothing stands there, or null."""
        return self.value is None

    def wrong(self, expected: str) -> None:
        """Note that something else was expected here.

        The first note on a path stays, and nothing is said of what lies inside a mistake.
        """
        if any(self.path[:n] in self.mistakes for n in range(len(self.path) + 1)):
            return
        value = self.value
        found = "nothing there" if value is None else f"not {_brief(value)}"
        self.mistakes[self.path] = f"expected {expected}, {found}"

    def items(self) -> list["Field"]:
        """The members of this list; none if it is absent."""
        if isinstance(self.value, list):
            path, mistakes = self.path, self.mistakes
            return [Field(v, (*path, i), mistakes) for i, v in enumerate(self.value)]
        if self.value is not None:
            self.wrong("a list")
        return []

    def only(self, names: tuple[str, ...]) -> None:
        """Note every member of this mapping that is called otherwise: a slip of the pen has no effect."""
        for name in self.value if isinstance(self.value, dict) else ():
            if name not in names:
                path = (*self.path, str(name))
                self.mistakes.setdefault(path, "no such field; expected one of " + ", ".join(names))

    def text(self, default: str | None = None, expected: str = "a text") -> str:
        """This text, or `default` if it is absent; with no default it must be there."""
        if isinstance(self.value, str):
            return self.value
        if self.value is None and default is not None:
            return default
        hint = " in quotes" if isinstance(self.value, bool | int | float) else ""
        self.wrong(expected + hint)
        return default or ""

    def name(self, check: Callable[[str, str], str], what: str, default: str | None = None) -> str:
        """A text that `check` (see common.names) accepts as `what`; `default` is not checked."""
        text = self.text(default, f"the name of a {what}")
        if self.value is not None and text != default and self.path not in self.mistakes:
            try:
                check(text, what)
            except InvalidName as error:
                self.mistakes.setdefault(self.path, str(error))
        return text

    def number(self, low: int, high: int, default: int | None = None) -> int:
        """A whole number between `low` and `high`; with no default it must be there."""
        value = self.value
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        if value is not None or default is None:
            self.wrong(f"a number from {low} to {high}")
        return low if default is None else default

    def flag(self, default: bool) -> bool:
        """True or false."""
        if isinstance(self.value, bool):
            return self.value
        if self.value is not None:
            self.wrong("true or false")
        return default

    def one_of(self, words: tuple[T, ...], default: T) -> T:
        """One of `words`."""
        for word in words:
            if self.value == word:
                return word
        if self.value is not None:
            self.wrong("one of " + ", ".join(words))
        return default


def _brief(value: object) -> str:
    match value:
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case bool():
            return "true" if value else "false"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
