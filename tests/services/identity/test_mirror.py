"""The mesh directory and its Secret: what is promised, over the API in memory; and what only that can show."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from common.clock import SystemClock
from common.errors import InvalidSettings
from common.kube.client import Client
from services.identity.cluster import layout
from services.identity.cluster.mirror import Mirror
from services.identity.directory import write
from services.identity.store import NotKept
from tests.support.kube_api import kube_api
from tests.support.mirrors import PROMISES, World
from tests.support.nats import until

pytestmark = pytest.mark.anyio
SECRETS = "/api/v1/namespaces/shop/secrets"


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
async def test_it_is_so(promise: Callable[[World], Awaitable[None]], tmp_path: Path) -> None:
    async with kube_api() as (_, access), Client(access) as client:
        world = World(client, "shop", tmp_path)
        await world.begin()
        await promise(world)


async def test_it_waits_for_a_mesh_that_is_not_made_yet(tmp_path: Path) -> None:
    async with (
        kube_api() as (api, access),
        Client(access) as client,
        anyio.create_task_group() as group,
    ):
        world = World(client, "shop", tmp_path)
        api.up = False
        mirror = Mirror(client, "shop", tmp_path / "memory", SystemClock())
        group.start_soon(mirror.fill)
        await until(lambda: api.asked(path=f"{SECRETS}/tulle-mesh"))
        api.up = True
        await world.begin()

    assert mirror.mesh.bus().trust_domain == "cluster.local"


async def test_something_else_of_that_name_is_no_mesh(tmp_path: Path) -> None:
    async with kube_api() as (api, access), Client(access) as client:
        api.put(SECRETS, {"metadata": {"name": "tulle-mesh"}, "data": {"a": "YQ=="}})

        with pytest.raises(InvalidSettings, match=r"shop: Secret tulle-mesh: has no key bus.json"):
            await Mirror(client, "shop", tmp_path / "memory", SystemClock()).fill()


async def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "memory").write_text("a file")
    async with kube_api() as (_, access), Client(access) as client:
        world = World(client, "shop", tmp_path)
        await world.begin()

        with pytest.raises(InvalidSettings, match="memory"):
            await Mirror(client, "shop", tmp_path / "memory", SystemClock()).fill()


async def test_an_api_that_is_away_keeps_nothing_and_takes_nothing_away(tmp_path: Path) -> None:
    async with kube_api() as (api, access), Client(access) as client:
        world = World(client, "shop", tmp_path)
        await world.begin()
        mirror = await world.replica()
        whole = layout.pack(mirror.mesh.root)
        api.up = False
        write(mirror.draft.people_file, b"[]")

        with pytest.raises(NotKept, match=r"tulle-mesh: not written: .*503"):
            await mirror.keep()
        with pytest.raises(NotKept, match=r"tulle-mesh: cannot be read: .*503"):
            await mirror.look()
        with pytest.raises(NotKept, match=r"tulle-trust: not brought up to date: .*503"):
            await mirror.push()
        assert layout.pack(mirror.mesh.root) == layout.pack(mirror.draft.root) == whole

        # Nothing was changed, so there is nothing to write, and nobody to ask.
        await mirror.keep()
