"""`python -m services.telemetry`: told wrongly, it says all that is wrong and ends with 2."""

from functools import partial
from pathlib import Path

import anyio
import pytest

from services.identity.bootstrap import bootstrap
from services.identity.directory import MeshDirectory
from tests.support import program

pytestmark = pytest.mark.anyio
told = partial(program.told, "services.telemetry")


@pytest.fixture
def mesh(tmp_path: Path) -> MeshDirectory:
    return bootstrap(tmp_path / "mesh")


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
