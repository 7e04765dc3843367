"""The sidecar is a budget: what a proxy's process has imported, and that it needs nothing more."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# None of these is in the sidecar's image.
ABSENT = ("kubernetes_asyncio", "yaml", "rich", "click", "nkeys", "prometheus_client", "nacl")
# nats-py imports aiohttp wherever it is installed, as here; the image does not have it.
ABSENT_FROM_IMAGE = (*ABSENT, "aiohttp")
PROGRAMS = ("proxy.__main__", "proxy.redirect.__main__")


def python(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_proxy_imports_nothing_that_its_image_does_not_hold(program: str) -> None:
    code = "import sys, importlib; importlib.import_module(sys.argv[1]); print(*sys.modules)"

    assert not set(ABSENT) & set(python(code, program).split())


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_proxy_starts_where_none_of_it_is_installed(program: str) -> None:
    code = """if True:
        import importlib, sys
        sys.modules.update(dict.fromkeys(sys.argv[2:]))     # importing one of these now fails
        importlib.import_module(sys.argv[1])
        print(*(name for name, module in sys.modules.items() if module))
    """

    assert not set(ABSENT_FROM_IMAGE) & set(python(code, program, *ABSENT_FROM_IMAGE).split())


@pytest.mark.parametrize(
    "program", ["services.identity", "services.destination", "services.telemetry"]
)
def test_a_service_brings_no_terminal(program: str) -> None:
    code = "import sys, importlib; importlib.import_module(sys.argv[1]); print(*sys.modules)"

    assert not {"rich", "click"} & set(python(code, f"{program}.__main__").split())
