"""YAML as destination reads it: examples, refusals with their lines, and that nothing else is raised."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.destination.sources.yaml_text import InvalidYaml, Lines, line_of, parse


def values(text: str) -> list[object]:
    return [document.value for document in parse(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("# only a remark\n", []),
        ("---\n---\n", [None, None]),
        ("a: 1\n---\nb: [x, {y: 2}]\n", [{"a": 1}, {"b": ["x", {"y": 2}]}]),
        ("[1, -2, 1.5, 1e3, .5]", [[1, -2, 1.5, 1000.0, 0.5]]),
        ("[true, False, ~, null, '']", [[True, False, None, None, ""]]),
        ("[yes, on, 2024-01-01, 0x10, 1_000]", [["yes", "on", "2024-01-01", "0x10", "1_000"]]),
        ("['1', \"true\", !!str 5]", [["1", "true", "5"]]),
        ("{1: a, true: b}", [{"1": "a", "true": "b"}]),
        ("a: |\n  two\n  lines\n", [{"a": "two\nlines\n"}]),
        ('{"json": [1, {"too": null}]}', [{"json": [1, {"too": None}]}]),
        ("a: &anchor 1", [{"a": 1}]),
        ("99999999999999999999999", [1e23]),
        ("9" * 41, ["9" * 41]),
    ],
)
def test_what_a_text_says(text: str, expected: list[object]) -> None:
    assert values(text) == expected


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: &x 1\nb: *x\n", 2, "aliases"),
        ("a: !!python/object:os.system x", 1, "tag"),
        ("a: !!int 3", 1, "tag"),
        ("a: 1\nb: 2\na: 3\n", 3, "a is there twice"),
        ("m:\n  a.b: {}\n  a.b: {}\n", 3, "m[a.b] is there twice"),
        ("? [a]\n: 1\n", 1, "key"),
        ("[" * 51 + "]" * 51, 1, "deeper"),
        ("[" * 100_000, 1, "deeper"),
        ("a: b: c\n", 1, "mapping values"),
        ("a: 1\nb: [\n", 3, "flow"),
        ("a: 1\n\tb: 2\n", 2, "tab"),
        ("a: 1\nb: \x01\n", 2, "control"),
    ],
)
def test_what_is_refused_and_on_which_line(text: str, line: int, words: str) -> None:
    with pytest.raises(InvalidYaml) as refusal:
        parse(text)

    assert words in str(refusal.value)
    assert refusal.value.line == line


def test_a_text_that_stands_for_gigabytes_is_refused_at_its_first_alias() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(9)
    )

    with pytest.raises(InvalidYaml, match="aliases"):
        parse(bomb)


def test_the_line_of_every_value_is_known() -> None:
    lines: Lines = {}
    parse("a:\n  b:\n  - x\n  - y: 1\n---\nc: 2\n", lines)

    assert line_of(lines, 0, ("a", "b", 1, "y")) == 4
    assert line_of(lines, 1, ("c",)) == 6
    assert line_of(lines, 0, ("a", "b", 0, "not", "there")) == 3


ascii_text = st.text(st.characters(codec="ascii", exclude_characters="\x7f"), max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | ascii_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ascii_text, inner, max_size=4),
    max_leaves=12,
)


@given(json_values, st.sampled_from([None, 2]))
def test_json_is_read_as_what_it_is(value: object, indent: int | None) -> None:
    assert values(json.dumps(value, indent=indent)) == [value]


@given(st.text(alphabet="ab:-[]{}&*!?|>'\"# \n\t,%@`0.", max_size=60))
def test_any_text_is_read_or_refused_with_a_line_that_exists(text: str) -> None:
    assert 1 <= line_refused(text) <= text.count("\n") + 2


def line_refused(text: str) -> int:
    try:
        parse(text)
    except InvalidYaml as refusal:
        return refusal.line
    return 1
