"""`tulle inject` and `tulle uninject` on the command line."""

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from cli.root import tulle
from tests.support.certificates import self_signed

POD = (
    "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: a, image: b}]}\n"
)


@pytest.fixture
def anchors(tmp_path: Path) -> Path:
    path = tmp_path / "anchors.pem"
    path.write_text(self_signed().certificate)
    return path


def run(*words: str, given: str = "") -> Result:
    return CliRunner().invoke(tulle, words, input=given, prog_name="tulle", env={"TULLE_MESH": ""})


def test_several_files_become_one_stream_and_what_was_done_is_told_apart(
    tmp_path: Path, anchors: Path
) -> None:
    file = tmp_path / "pod.yaml"
    file.write_text(POD)

    result = run("inject", str(file), "-", "--trust-anchors-file", str(anchors), given=POD)

    assert result.exit_code == 0
    first, second = yaml.safe_load_all(result.stdout)
    assert first == second
    assert first["metadata"]["annotations"]["tulle.dev/trust-anchors"] == anchors.read_text()
    assert result.stderr == "pod/web injected\n" * 2

    back = run("uninject", "-", given=result.stdout)
    assert list(yaml.safe_load_all(back.stdout)) == [yaml.safe_load(POD)] * 2


def test_defaults_and_the_bus_can_be_set(anchors: Path) -> None:
    words = ("inject", "-", "--trust-anchors-file", str(anchors), "--bus", "tls://b:1")
    result = run(*words, "--set", "proxy-image=example.org/p:7", given=POD)

    assert "image: example.org/p:7" in result.stdout
    assert "value: tls://b:1" in result.stdout
    assert "config.tulle.dev" not in result.stdout


def test_a_warning_names_the_workload(anchors: Path) -> None:
    pod = POD.replace("name: web", "name: web, annotations: {config.tulle.dev/inbound-port: x}")

    result = run("inject", "-", "--trust-anchors-file", str(anchors), given=pod)

    assert result.exit_code == 0
    assert "pod/web warning: config.tulle.dev/inbound-port: 'x': expected a port" in result.stderr


@pytest.mark.parametrize(
    ("words", "given", "status", "told"),
    [
        ((), POD, 2, "expected --trust-anchors-file FILE or --mesh DIR"),
        (("--trust-anchors-file", "{anchors}"), "a: ]", 1, "<stdin>: line 1"),
        (("--trust-anchors-file", "/nowhere"), POD, 1, "/nowhere"),
        (("--trust-anchors-file", "{pod}"), POD, 2, "expected one or more in PEM"),
        (("--trust-anchors-file", "{anchors}", "--set", "x=1"), POD, 2, "--set x: is not known"),
    ],
)
def test_a_mistake_is_told_in_one_line_and_nothing_is_written(
    words: tuple[str, ...], given: str, status: int, told: str, anchors: Path, tmp_path: Path
) -> None:
    pod = tmp_path / "pod.yaml"
    pod.write_text(POD)
    filled = [word.format(anchors=anchors, pod=pod) for word in words]

    result = run("inject", "-", *filled, given=given)

    assert (result.exit_code, result.stdout) == (status, "")
    assert told in result.stderr
    assert result.stderr.count("\n") == 1
