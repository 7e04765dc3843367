"""`python -m services.injector`: told wrongly, it says all that is wrong and ends with 2."""

import sys
from pathlib import Path

import anyio
import pytest

from services.identity.bootstrap import bootstrap
from services.identity.directory import MeshDirectory

pytestmark = pytest.mark.anyio


@pytest.fixture
def mesh(tmp_path: Path) -> MeshDirectory:
    return bootstrap(tmp_path / "mesh")


async def told(**variables: object) -> str:
    """What it says on standard error before it ends with 2."""
    env = {f"TULLE_{name.upper()}": str(value) for name, value in variables.items()}
    with anyio.fail_after(20):
        done = await anyio.run_process(
            [sys.executable, "-m", "services.injector"], env=env, check=False
        )
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"Traceback" not in done.stderr
    return done.stderr.decode()


async def test_every_variable_that_is_missing_or_wrong_is_told_at_once() -> None:
    said = await told(listen="nowhere", log_level="loud")

    for name in ("BUS", "TRUST_ANCHORS_FILE", "NKEY_FILE", "LISTEN", "LOG_LEVEL"):
        assert f"TULLE_{name}" in said


async def test_defaults_that_are_none_and_a_missing_cluster_are_told(mesh: MeshDirectory) -> None:
    good: dict[str, object] = {
        "bus": "tls://127.0.0.1:1",
        "trust_anchors_file": mesh.anchors_file,
        "nkey_file": mesh.seed_file("injector"),
    }

    for defaults, said in (
        ("x", "expected a JSON object"),
        ('{"admin-port": "x", "colour": "blue"}', "colour: is not known"),
    ):
        text = await told(**good, proxy_defaults=defaults)
        assert text.startswith("TULLE_PROXY_DEFAULTS: ")
        assert said in text
    assert "KUBERNETES_SERVICE_HOST: not set" in await told(**good)


async def test_a_file_that_holds_no_seed_is_told_by_its_variable(mesh: MeshDirectory) -> None:
    anchors = mesh.anchors_file

    said = await told(bus="tls://127.0.0.1:1", trust_anchors_file=anchors, nkey_file=anchors)

    assert f"TULLE_NKEY_FILE='{anchors}': expected an nkey user seed" in said
