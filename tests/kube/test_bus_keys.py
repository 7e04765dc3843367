"""Other keys of the bus in a cluster reach the Secrets of those who read them, and NATS as it is shown them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeVar

import anyio
import msgspec
import pytest
from nats.errors import Error as NatsError

from common.contract import subjects
from common.contract.identity import KeyRotation, KeysChange, KeysQuestion
from common.contract.topic import Question
from common.errors import BusUnavailable
from services.identity.permissions import ROLES
from tests.support.cluster import Cluster
from tests.support.mesh_in_cluster import ClusterMesh, data, mesh_in_cluster

pytestmark = pytest.mark.anyio

Q = TypeVar("Q", bound=msgspec.Struct)


@pytest.fixture
async def mesh(cluster: Cluster, namespace: str, tmp_path: Path) -> AsyncIterator[ClusterMesh]:
    async with mesh_in_cluster(cluster, namespace, tmp_path) as made:
        yield made


async def asked(mesh: ClusterMesh, question: Question[Q, KeyRotation], message: Q) -> KeyRotation:
    """The answer, to an operator who comes in with the key that lies in the Secret now."""
    with anyio.fail_after(30):
        while True:
            mesh.directory = mesh.read()
            try:
                async with mesh.role("operator") as bus:
                    return await bus.request(question, message, timeout=3)
            except (BusUnavailable, TimeoutError):
                await anyio.sleep(0.1)


async def test_other_keys_reach_nats_and_the_secrets_of_those_who_read_them(
    mesh: ClusterMesh,
) -> None:
    old = {role: mesh.directory.user(role).seed for role in ROLES}
    async with mesh.in_cluster():
        await asked(mesh, subjects.keys_change(), KeysChange())
        with anyio.fail_after(60):
            while (now := await asked(mesh, subjects.keys_status(), KeysQuestion())).what:
                # The kubelet shows NATS what its Secret holds, some time after.
                mesh.files.bring()

        assert (now.completed, now.trouble) == (1, "")
        assert [one.kind for one in now.keys] == ["services", "account", "callout"]
        for role in ROLES:
            seed = mesh.read().user(role).seed
            assert seed != old[role]
            if role != "identity":
                held = data(mesh.cluster, mesh.namespace, f"secret/tulle-bus-{role}")
                assert held["nkey.seed"].decode() == seed
            with pytest.raises(NatsError, match="Authorization Violation"):
                await mesh.client(seed=old[role])
