"""Subjects with wildcards: what two of them have in common, and which says it all."""

from collections.abc import Iterable


def common(one: str, other: str) -> str | None:
    """The pattern of all subjects that fit both patterns; None if none does."""
    mine, theirs = one.split("."), other.split(".")
    found: list[str] = []
    for place in range(max(len(mine), len(theirs))):
        if place == len(mine) or place == len(theirs):
            return None
        if mine[place] == ">":
            return ".".join(found + theirs[place:])
        if theirs[place] == ">":
            return ".".join(found + mine[place:])
        if mine[place] != theirs[place] and "*" not in (mine[place], theirs[place]):
            return None
        found.append(theirs[place] if mine[place] == "*" else mine[place])
    return ".".join(found)


def broadest(patterns: Iterable[str]) -> tuple[str, ...]:
    """Those patterns that no other one of them covers, each once, in their order."""
    those = tuple(dict.fromkeys(patterns))
    return tuple(
        one
        for one in those
        if not any(other != one and common(one, other) == one for other in those)
    )
