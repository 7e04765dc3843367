"""`python -m services.telemetry`: told wrongly, it says all that is wrong and ends with 2."""

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
            [sys.executable, "-m", "services.telemetry"], env=env, check=False
        )
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"Traceback" not in done.stderr
    return done.stderr.decode()


async def test_every_variable_that_is_missing_or_wrong_is_told_at_once() -> None:
    said = await told(admin_listen="nowhere", log_level="loud")

    for name in ("BUS", "TRUST_ANCHORS_FILE", "NKEY_FILE", "ADMIN_LISTEN", "LOG_LEVEL"):
        assert f"TULLE_{name}" in said


async def test_a_file_that_cannot_be_read_is_told_by_its_variable(mesh: MeshDirectory) -> None:
    missing = mesh.root / "missing"
    seed = mesh.seed_file("telemetry")

    anchors = await told(bus="tls://127.0.0.1:1", trust_anchors_file=missing, nkey_file=seed)
    assert f"TULLE_TRUST_ANCHORS_FILE='{missing}': cannot be read: No such file" in anchors


async def test_a_file_that_holds_something_else_is_told_by_its_variable(
    mesh: MeshDirectory,
) -> None:
    bus, anchors, seed = "tls://127.0.0.1:1", mesh.anchors_file, mesh.seed_file("telemetry")

    no_anchors = await told(bus=bus, trust_anchors_file=seed, nkey_file=seed)
    assert f"TULLE_TRUST_ANCHORS_FILE='{seed}': trust anchors" in no_anchors
    no_seed = await told(bus=bus, trust_anchors_file=anchors, nkey_file=anchors)
    assert f"TULLE_NKEY_FILE='{anchors}': expected an nkey user seed" in no_seed


async def test_a_port_that_is_taken_is_told(mesh: MeshDirectory) -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        said = await told(
            bus="tls://127.0.0.1:1",
            trust_anchors_file=mesh.anchors_file,
            nkey_file=mesh.seed_file("telemetry"),
            admin_listen=f"127.0.0.1:{port}",
        )

    assert f"127.0.0.1:{port}" in said
