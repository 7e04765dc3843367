"""Which Tulle this is: said once in the code, and once for those who package it."""

import tomllib
from pathlib import Path

from common.version import VERSION

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_programs_and_packages_say_the_same_version() -> None:
    assert tomllib.loads(PROJECT.read_text())["project"]["version"] == VERSION
