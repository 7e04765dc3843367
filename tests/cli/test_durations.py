"""Durations: a whole number and a unit, nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.durations import UNITS, parse, spell


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10s", 10.0), ("5m", 300.0), ("1h", 3600.0), ("250ms", 0.25), ("2d", 172_800.0), ("0s", 0.0)],
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert parse(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "10", "s", "-1s", "1.5h", "1h30m", " 1s", "1S", "1 s", "٣s", "1s\n", "9" * 10 + "s"],
)
def test_anything_else_is_none_and_the_error_says_what_is_expected(text: str) -> None:
    with pytest.raises(ValueError, match="such as 5m"):
        parse(text)


@given(st.integers(1, 10_000), st.sampled_from(list(UNITS)))
def test_what_is_spelled_is_parsed_again(count: int, unit: str) -> None:
    seconds = parse(f"{count}{unit}")

    assert parse(spell(seconds)) == pytest.approx(seconds)
