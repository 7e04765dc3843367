"""What is installed is what was locked, a wheel holds every room, and set-up does only what is due."""

import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LOCK = (ROOT / "requirements.lock").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ROOMS = ("common", "services", "proxy", "cli", "demo")
SET_UP = ROOT / "packaging" / "set_up.py"


def run(*command: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command that knows nothing of this checkout; its output is part of a failure."""
    keep = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=keep | env,
        text=True,
        capture_output=True,
        check=False,
    )
    sys.stdout.write(done.stdout + done.stderr)  # pytest shows it with a failure
    return done


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# --- the lock ---------------------------------------------------------------------------------


def test_the_lock_says_what_but_not_from_where() -> None:
    assert "://" not in LOCK
    assert not re.search(r"^\s*-(?!-hash=sha256:)", LOCK, re.M), "no option but hashes"


def test_everything_in_the_lock_is_pinned_and_hashed() -> None:
    for entry in re.split(r"\n(?=\S)", LOCK.strip()):
        assert re.match(r"[a-z0-9-]+==\S+ (; .* )?\\\n    --hash=sha256:[0-9a-f]{64}", entry), entry


def test_everything_declared_is_locked() -> None:
    extras = PROJECT["optional-dependencies"].values()
    declared = {canonical(name) for names in (PROJECT["dependencies"], *extras) for name in names}

    assert declared <= set(re.findall(r"^([a-z0-9-]+)==", LOCK, re.M))


# --- the wheel --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    assert build.returncode == 0
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a throw-away environment that holds the wheel and borrows what it needs."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index")
    assert run(*pip, wheel, cwd=folder).returncode == 0
    # A folder named in a .pth file is searched, but its own .pth files (our checkout) are not read.
    ours = next(path for path in sys.path if path.endswith("site-packages"))
    theirs = next(folder.glob("lib/python*/site-packages"))
    (theirs / "borrowed.pth").write_text(f"{ours}\n")
    return folder / "bin"


def test_a_wheel_holds_every_room_in_one_private_folder(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        line = archive.read("tulle.pth").decode()

    assert {name.split("/")[0] for name in names} == {
        "tulle_rooms",
        "tulle.pth",
        f"tulle-{PROJECT['version']}.dist-info",
    }
    assert line == "tulle_rooms\n"
    assert set(_tracked()) <= {name.removeprefix("tulle_rooms/") for name in names}


def _tracked() -> Iterator[str]:
    for room in (*ROOMS, "k8s"):
        for path in (ROOT / room).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                yield str(path.relative_to(ROOT))


def test_an_installed_wheel_runs_from_where_it_was_installed(installed: Path) -> None:
    where = "import common.names, demo, cli; print(common.names.__file__)"
    imported = run(installed / "python", "-c", where, cwd=installed)
    version = run(installed / "tulle", "version", cwd=installed)

    assert imported.returncode == 0
    assert Path(imported.stdout.strip()).is_relative_to(installed.parent)
    assert version.returncode == 0
    assert PROJECT["version"] in version.stdout


def test_an_installed_wheel_prints_the_manifests_of_this_checkout(installed: Path) -> None:
    printed = run(installed / "tulle", "install", cwd=installed)

    assert printed.returncode == 0
    assert printed.stdout == "".join(f.read_text() for f in sorted((ROOT / "k8s").glob("*.yaml")))


# --- set-up -----------------------------------------------------------------------------------

BACKEND = '''
"""A build backend of a few lines: the test needs no package from anywhere."""
import zipfile

def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "little-1-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        wheel.writestr("little.pth", "")
        wheel.writestr("little-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: little\\nVersion: 1\\n")
        wheel.writestr("little-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        wheel.writestr("little-1.dist-info/RECORD", "")
    return name
'''


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of something very small, in a folder with a space, with our set-up."""
    root = tmp_path / "a checkout"
    (root / "packaging").mkdir(parents=True)
    (root / "packaging" / "set_up.py").write_text(SET_UP.read_text())
    (root / "backend.py").write_text(BACKEND)
    (root / "requirements.lock").write_text("# nothing\n")
    (root / "pyproject.toml").write_text(
        '[project]\nname = "little"\nversion = "1"\n'
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    return root


def set_up(root: Path, *arguments: str, **env: str) -> str:
    """Run the checkout's set-up; what it said."""
    done = run(sys.executable, root / "packaging" / "set_up.py", *arguments, cwd=root, **env)
    assert done.returncode == 0
    assert done.stdout == "", "standard output belongs to the command that follows"
    return done.stderr


def test_set_up_does_what_is_due_and_names_what_the_machine_lacks(checkout: Path) -> None:
    python = checkout / ".venv" / "bin" / "python"
    nowhere = {"PIP_USER": "1", "PIP_TARGET": str(checkout / "elsewhere")}

    assert "making .venv" in set_up(checkout, **nowhere)
    made = python.lstat().st_mtime_ns
    assert run(python, "-m", "pip", "show", "little", cwd=checkout).returncode == 0

    assert set_up(checkout, "sh") == ""
    said = set_up(checkout, "sh", "no-such-tool")
    assert "not on this machine: no-such-tool; going on without" in said
    assert "sudo apt-get install no-such-tool" in said

    with (checkout / "pyproject.toml").open("a") as file:
        file.write("# a change that needs no new environment\n")
    assert set_up(checkout) == ""
    assert python.lstat().st_mtime_ns == made

    (checkout / "requirements.lock").write_text("# nothing else\n")
    assert "making .venv" in set_up(checkout)
    assert not (checkout / "elsewhere").exists()


def test_an_old_python_is_told_so(checkout: Path) -> None:
    pretend = "import runpy, sys; sys.version_info = (3, 9, 2); runpy.run_path(sys.argv[1], {}, '__main__')"

    done = run(sys.executable, "-c", pretend, SET_UP, cwd=checkout)

    assert done.returncode == 2
    assert "Tulle needs Python 3.11 or newer" in done.stderr
    assert "is 3.9.2" in done.stderr
