"""An issuer from elsewhere, below an anchor of its own: everybody finds NATS again, also after a restart."""

from pathlib import Path

import pytest

from cli.mesh import operator_bus
from common.clock import SystemClock
from common.contract import subjects
from common.x509 import chain_pem, key_pem
from services.identity import credentials
from services.identity.bootstrap import bootstrap
from services.identity.directory import MeshDirectory
from services.identity.roots import make_anchor, make_issuer
from tests.support.identity import nats
from tests.support.nats import until

pytestmark = pytest.mark.anyio


def taken_over(mesh: MeshDirectory) -> None:
    """Lay the files beside ours as cert-manager does."""
    now = SystemClock.now()
    anchor = make_anchor("cluster.local", now)
    issuer = make_issuer(anchor, "cluster.local", now)
    folder = mesh.issuer_file.parent
    (folder / "ca.crt").write_bytes(chain_pem(anchor.chain))
    (folder / "tls.key").write_bytes(key_pem(issuer.key))
    (folder / "tls.crt").write_bytes(chain_pem(issuer.chain))


async def test_identity_and_people_find_nats_below_the_other_anchor(tmp_path: Path) -> None:
    async with nats(tmp_path) as mesh:
        root = mesh.directory.root
        bootstrap(root, nats_port=mesh.server.port, store_dir=tmp_path / "store")
        async with mesh.identity():
            before = mesh.directory.server_file.read_bytes()
            taken_over(mesh.directory)
            await until(lambda: mesh.directory.server_file.read_bytes() != before, 20)
            await until(lambda: "Reloaded server configuration" in mesh.server.log_file.read_text())
            credentials.add(mesh.directory, "ada", "reader", tmp_path / "ada")

        async with mesh.identity(trust_anchors_file=""):
            for folder in (mesh.directory, MeshDirectory(tmp_path / "ada")):
                async with operator_bus(folder) as bus:
                    found = await bus.get(subjects.trust())
                    assert found is not None
                    assert len(found.message.anchors) == 2
