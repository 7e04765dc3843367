"""How a source stands, and how it tells people of what is in it; every source says it in these words."""

from collections.abc import Callable
from typing import Protocol

import msgspec

from common.latest import Latest
from services.destination.resources import Change

OnChanges = Callable[[list[Change]], None]
Tell = Callable[[str, str, dict[str, str]], None]
"""Called with what happened (`rejected`, `accepted`, `shadowed`, `ignored`), a sentence and its fields."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How the source stands as a whole."""

    loaded: bool = False
    """Everything has been looked at once."""
    broken: frozenset[str] = frozenset()
    """What cannot be understood now: files and directories (`.`: the whole), or objects."""
    unknown: frozenset[str] = frozenset()
    """Of those, what nothing may be taken away for: files never understood since the start."""
    silent: frozenset[str] = frozenset()
    """Kinds of which nothing is heard just now; what was heard before stays."""


class Source(Protocol):
    """Where resources come from. What changed is handed on from `run`, on the event loop."""

    standing: Latest[Standing]

    async def run(self) -> None:
        """Follow for ever."""
        ...


Opener = Callable[[OnChanges, Tell], Source]
"""Makes a source that hands changes and news to these two."""
