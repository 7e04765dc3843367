"""SECURITY.md: each line of the threat model names tests that show it, and they are there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODEL = (ROOT / "SECURITY.md").read_text().partition("## The threat model")[2]
# A line of the model: a dash, and all that is indented below it.
LINES = re.findall(r"^- .*(?:\n  .*)*", MODEL, re.M)
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


@cache
def functions_of(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text())
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    return frozenset(node.name for node in tree.body if isinstance(node, functions))


def test_there_is_a_threat_model() -> None:
    assert len(LINES) > 30
    for who in ("A pod", "A service", "A NATS node", "The network"):
        assert f"### {who}" in MODEL


@pytest.mark.parametrize("line", LINES, ids=lambda line: " ".join(line.split()[1:7]))
def test_each_line_names_tests_that_are_there(line: str) -> None:
    named = NAMED.findall(line)

    assert named, "who shows it?"
    assert line.count("`tests/") == len(named), "a name that cannot be understood"
    for path, name in named:
        assert name in functions_of(path), f"{path} has no {name}"
