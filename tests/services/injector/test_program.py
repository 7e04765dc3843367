"""`python -m services.injector`: told wrongly, it says all that is wrong and ends with 2."""

from functools import partial
from pathlib import Path

import pytest

from services.identity.bootstrap import bootstrap
from services.identity.directory import MeshDirectory
from tests.support import program

pytestmark = pytest.mark.anyio
told = partial(program.told, "services.injector")


@pytest.fixture
def mesh(tmp_path: Path) -> MeshDirectory:
    return bootstrap(tmp_path / "mesh")


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
