"""`tulle completion`: a real bash completes commands and options with what it prints."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.root import tulle
from tests.support.command import environment_for

# As bash itself does when Tab is pressed: the words so far, the number of the one that is begun.
TAB = """
source <(tulle completion bash)
complete -p tulle
COMP_WORDS=(tulle {words}) COMP_CWORD={number}
_tulle_completion tulle
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def tab(folder: Path, *words: str) -> list[str]:
    """What bash offers for the last of the words; the first line tells how it has been set up."""
    program = folder / "tulle"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m cli "$@"\n')
    program.chmod(0o755)
    env = environment_for()
    done = subprocess.run(
        ["bash", "--norc", "-c", TAB.format(words=" ".join(words), number=len(words))],
        env=env | {"PATH": f"{folder}:{env['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("diag",), ["diagnostics"]),
        (("diagnostics", "end"), ["endpoints"]),
        (("check", "--pr"), ["--pre", "--proxy"]),
        (("check", "-o", "s"), ["short"]),
    ],
    ids=" ".join,
)
def test_a_real_bash_completes(tmp_path: Path, words: tuple[str, ...], offered: list[str]) -> None:
    set_up, *found = tab(tmp_path, *words)

    assert set_up.endswith("-F _tulle_completion tulle")
    assert found == offered


@pytest.mark.parametrize(("shell", "begins"), [("zsh", "#compdef tulle"), ("fish", "function ")])
def test_other_shells_have_their_own_script(shell: str, begins: str) -> None:
    done = CliRunner().invoke(tulle, ["completion", shell], prog_name="tulle")

    assert done.exit_code == 0
    assert done.stdout.lstrip().startswith(begins)
    assert f"_TULLE_COMPLETE={shell}_complete" in done.stdout
