"""The command line without a mesh: help, mistakes in one line, exit statuses, nothing imported too soon."""

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli import root
from common.nats_server import free_port
from services.identity.bootstrap import bootstrap
from tests.support.command import tulle

COMMANDS = [
    ("stat",),
    ("edges",),
    ("bus",),
    ("bus", "sub"),
    ("token",),
    ("check",),
    ("identity",),
    ("version",),
    ("completion",),
    ("diagnostics",),
    ("diagnostics", "endpoints"),
    ("diagnostics", "address"),
    ("diagnostics", "workload"),
    ("diagnostics", "proxy"),
]


# Groups, and what prints a script.
SILENT = [("bus",), ("diagnostics",), ("completion",)]
# Nobody's own mesh or cluster is meant.
NOWHERE = {"TULLE_MESH": "", "KUBECONFIG": "/nowhere"}


def run(*arguments: str) -> Result:
    return CliRunner(env=NOWHERE).invoke(root.tulle, arguments, prog_name="tulle")


@pytest.mark.parametrize("command", [(), *COMMANDS], ids=" ".join)
def test_every_command_explains_itself(command: tuple[str, ...]) -> None:
    result = run(*command, "--help")

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"Usage: {' '.join(('tulle', *command))} ")
    assert max(map(len, result.stdout.splitlines())) <= 100


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in SILENT], ids=" ".join)
def test_every_command_can_speak_to_programs(command: tuple[str, ...]) -> None:
    assert "json" in run(*command, "--help").stdout


def test_help_names_every_command_and_imports_none() -> None:
    result = run("--help")

    assert all(f"  {name} " in result.stdout for name in root.COMMANDS)


MISTAKES = [
    pytest.param(("nonsense",), "No such command 'nonsense'", id="a command that is none"),
    pytest.param(("stat", "--nonsense"), "No such option", id="an option that is none"),
    pytest.param(("stat", "cow"), "expected KIND or KIND/NAME", id="a kind that is none"),
    pytest.param(("stat", "pod/"), "expected KIND or KIND/NAME", id="a name that is missing"),
    pytest.param(("stat", "-t", "90"), "such as 5m", id="a duration without a unit"),
    pytest.param(("stat", "-t", "2h"), "between 1s and 1h", id="a window too long"),
    pytest.param(("edges", "-t", "0s"), "between 1s and 1h", id="a window too short"),
    pytest.param(("stat", "-n", "A b"), "namespace 'A b'", id="a namespace that is none"),
    pytest.param(("stat", "-n", "shop", "-A"), "exclude each other", id="one and all"),
    pytest.param(("edges", "-o", "yaml"), "'table', 'wide', 'json'", id="a form that is none"),
    pytest.param(("stat",), "expected --mesh DIR or TULLE_MESH=DIR", id="no mesh"),
    pytest.param(("check", "--pre", "--proxy"), "exclude each other", id="before and after"),
    pytest.param(("check", "-n", "shop"), "--pre or --proxy", id="a namespace of no use"),
    pytest.param(
        ("check", "--pre", "--mesh", "d"), "looks at a cluster", id="a mesh without cluster"
    ),
    pytest.param(("bus", "users"), "which mesh?", id="people of no mesh"),
    pytest.param(("diagnostics", "address", "x"), "expected an IPv4", id="an address that is none"),
    pytest.param(("diagnostics", "proxy", "x"), "NAMESPACE/NAME", id="a proxy without a namespace"),
    pytest.param(("completion", "tcsh"), "'bash', 'zsh', 'fish'", id="a shell that is none"),
    pytest.param(("bus", "sub"), "Missing argument 'SUBJECT'", id="no subject"),
    pytest.param(("bus", "sub", "a..b"), "is no subject", id="an empty word"),
    pytest.param(("bus", "sub", "a.>.b"), "is no subject", id="> in the middle"),
    pytest.param(("bus", "sub", "a", "--count", "0"), "--count", id="nothing wanted"),
    pytest.param(("token", "shop/web"), "--service-account", id="no account"),
]


@pytest.mark.parametrize(("arguments", "told"), MISTAKES)
def test_a_mistake_is_told_in_one_line_and_ends_with_2(
    arguments: tuple[str, ...], told: str
) -> None:
    result = run(*arguments)

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("tulle")
    assert told in result.stderr
    assert result.stderr.rstrip().endswith("--help")


def test_a_directory_that_is_no_mesh_is_told_by_the_file_that_is_missing(tmp_path: Path) -> None:
    result = run("--mesh", str(tmp_path), "stat")

    assert result.exit_code == 2
    assert f"{tmp_path}/bus.json" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("bus.json", "{", "bus.json"),
        ("bus.json", '{"servers": 5}', "$.servers"),
        ("keys/operator.seed", "SUnonsense", "expected a seed"),
        ("trust/anchor.pem", "not a certificate", "certificates: expected one or more in PEM"),
    ],
)
def test_a_broken_file_of_a_mesh_is_told_by_its_path(
    tmp_path: Path, file: str, text: str, told: str
) -> None:
    mesh = bootstrap(tmp_path / "mesh").root
    (mesh / file).write_text(text)

    result = run("edges", "--mesh", str(mesh))

    assert result.exit_code == 2
    assert f"{mesh / file}: " in result.stderr
    assert told in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_package_that_is_missing_is_told_with_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "cli.version", None)

    result = run("version")

    assert result.exit_code == 1
    assert "needs cli.version, which is not installed" in result.stderr
    assert "pip install" in result.stderr


@pytest.mark.anyio
async def test_where_no_bus_answers_the_server_is_named(tmp_path: Path) -> None:
    mesh = bootstrap(tmp_path / "mesh", nats_port=free_port()).root

    done = await tulle("stat", mesh=mesh)

    assert (done.returncode, done.stdout) == (1, "")
    assert "no connection within 5 s" in done.stderr
    assert "tls://127.0.0.1:" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.anyio
async def test_help_of_the_installed_command_needs_no_bus_and_no_crypto() -> None:
    code = (
        "import sys; from cli.root import tulle\n"
        "try: tulle(['--help'])\n"
        "except SystemExit: print(*sorted(sys.modules))"
    )
    done = await tulle("version", "-o", "json")
    assert (done.returncode, done.stderr) == (0, "")
    assert '"version"' in done.stdout

    import anyio

    shown = await anyio.run_process([sys.executable, "-c", code])
    loaded = set(shown.stdout.decode().splitlines()[-1].split())
    assert not loaded & {"nats", "anyio", "asyncio", "rich", "cryptography", "msgspec", "nkeys"}
