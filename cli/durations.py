"""Durations as people write them: a whole number and a unit, such as `10s`, `5m` or `1h`."""

import re

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)")


def parse(text: str) -> float:
    """Seconds. Raises ValueError that says what is expected; a bare number is none, its unit is a guess."""
    match = _DURATION.fullmatch(text)
    if not match:
        raise ValueError(
            f"{text!r} is no duration; expected a number and ms, s, m, h or d, such as 5m"
        )
    return int(match[1]) * UNITS[match[2]]


def spell(seconds: float) -> str:
    """The shortest way to write a duration; law: `parse(spell(s)) == s` for whole milliseconds."""
    for unit, length in sorted(UNITS.items(), key=lambda item: -item[1]):
        count = round(seconds / length)
        if count and abs(count * length - seconds) < 1e-6:
            return f"{count}{unit}"
    return "0s"


def about(seconds: float) -> str:
    """A duration as a person says it, in its two largest units: `22h 14m`, `364d 3h`, `0s`."""
    left = max(0, int(seconds))
    words: list[str] = []
    for unit in ("d", "h", "m", "s"):
        count, left = divmod(left, int(UNITS[unit]))
        if count or words:
            words.append(f"{count}{unit}")
    return " ".join(word for word in words[:2] if word[0] != "0") or "0s"
