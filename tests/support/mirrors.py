"""What `services.identity.cluster.mirror` promises, for the API in memory and for the real one alike."""

from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import anyio.lowlevel
import pytest

from common.clock import SystemClock
from common.kube.client import MERGE_PATCH, Client
from common.kube.stored import KindOfData, Shelf, Stored
from common.x509 import chain_pem
from services.identity.cluster import layout
from services.identity.cluster.bootstrap import Wanted, bootstrap, make
from services.identity.cluster.mirror import Mirror
from services.identity.directory import write
from services.identity.roots import make_anchor
from services.identity.store import NotKept
from tests.support.nats import until


@cache
def _a_mesh() -> Stored:
    """The same for all: its keys take a while."""
    with TemporaryDirectory() as folder:
        return make(Path(folder), Wanted(), None, SystemClock())


class World:
    """A mesh in a namespace, and replicas of identity that know only the Secret of each other."""

    def __init__(self, client: Client, namespace: str, work: Path) -> None:
        self.client, self.namespace, self._work = client, namespace, work
        self.shelf = Shelf(client, namespace)
        self._replicas = 0

    async def begin(self) -> None:
        """Make the mesh."""
        wanted = Wanted(namespace=self.namespace)
        await self.shelf.create(_a_mesh())
        await bootstrap(self.shelf, wanted, lambda _: None, SystemClock())

    async def replica(self) -> Mirror:
        """Another one, filled."""
        self._replicas += 1
        folder = self._work / f"replica-{self._replicas}"
        made = Mirror(self.client, self.namespace, folder, SystemClock())
        await made.fill()
        return made

    async def held(self, name: str = layout.MESH, kind: KindOfData = "Secret") -> dict[str, bytes]:
        """What an object holds."""
        found = await self.shelf.read(kind, name)
        assert found is not None
        return dict(found.data)

    async def patch(self, name: str = layout.MESH, **patch: object) -> None:
        """Change an object from outside."""
        path = f"/api/v1/namespaces/{self.namespace}/secrets/{name}"
        body = {"metadata": {}, **patch}
        await self.client.ask("PATCH", path, body=body, content_type=MERGE_PATCH)


async def a_change_is_in_force_when_it_is_durable_and_not_before(world: World) -> None:
    one = await world.replica()
    write(one.draft.people_file, b"[]")
    assert not one.mesh.people_file.exists()

    await one.keep()

    assert one.mesh.people_file.read_bytes() == b"[]"
    assert (await world.held())["people.json"] == b"[]"
    assert (await world.replica()).mesh.people_file.read_bytes() == b"[]"
    one.draft.people_file.unlink()
    await one.keep()
    assert "people.json" not in await world.held()
    assert not one.mesh.people_file.exists()


async def of_two_who_write_one_takes_what_the_other_wrote(world: World) -> None:
    one, two = await world.replica(), await world.replica()
    write(one.draft.people_file, b'["one"]')
    write(two.draft.people_file, b'["two"]')
    await one.keep()

    with pytest.raises(NotKept, match="changed by somebody else meanwhile"):
        await two.keep()

    assert (await world.held())["people.json"] == b'["one"]'
    assert two.mesh.people_file.read_bytes() == two.draft.people_file.read_bytes() == b'["one"]'
    write(two.draft.people_file, b'["two"]')
    await two.keep()
    assert (await world.held())["people.json"] == b'["two"]'


async def two_changes_of_one_replica_are_both_kept(world: World) -> None:
    one = await world.replica()
    async with anyio.create_task_group() as group:
        write(one.draft.people_file, b"[]")
        group.start_soon(one.keep)
        await anyio.lowlevel.checkpoint()
        # The first is on its way by now.
        write(one.draft.cross_file, b"")
        await one.keep()

    held = await world.held()
    assert (held["people.json"], held["trust.cross.pem"]) == (b"[]", b"")
    assert one.mesh.cross_file.exists()


async def whoever_waits_while_another_s_change_is_undone_hears_of_it(world: World) -> None:
    one, two = await world.replica(), await world.replica()
    write(one.draft.people_file, b'["one"]')
    await one.keep()
    heard: list[NotKept] = []

    async def keep() -> None:
        try:
            await two.keep()
        except NotKept as error:
            heard.append(error)

    async with anyio.create_task_group() as group:
        write(two.draft.people_file, b'["two"]')
        group.start_soon(keep)
        await anyio.lowlevel.checkpoint()
        write(two.draft.cross_file, b"")
        await keep()

    assert len(heard) == 2
    assert not two.draft.cross_file.exists()
    assert "trust.cross.pem" not in await world.held()


async def what_is_said_about_the_secret_hinders_nobody(world: World) -> None:
    one = await world.replica()
    await world.patch(metadata={"annotations": {"a": "b"}}, data={"of.somebody.else": "YQ=="})
    await one.look()
    await world.patch(metadata={"annotations": {"a": "c"}})
    write(one.draft.people_file, b"[]")

    await one.keep()

    held = await world.held()
    assert (held["people.json"], held["of.somebody.else"]) == (b"[]", b"a")


async def what_was_not_kept_is_undone(world: World) -> None:
    one = await world.replica()
    anchor = one.mesh.anchors_file.read_bytes()
    write(one.draft.anchors_file, b"half")
    write(one.draft.people_file, b"[]")

    await one.look()

    assert one.draft.anchors_file.read_bytes() == anchor
    assert not one.draft.people_file.exists()
    before = await world.held()
    await one.keep()
    assert await world.held() == before


async def without_the_secret_it_goes_on_from_memory_and_changes_nothing(world: World) -> None:
    one = await world.replica()
    whole = layout.pack(one.mesh.root)
    await world.client.ask("DELETE", f"/api/v1/namespaces/{world.namespace}/secrets/{layout.MESH}")
    write(one.draft.people_file, b"[]")

    with pytest.raises(NotKept, match=r"tulle-mesh: not written: .*404 NotFound"):
        await one.keep()
    with pytest.raises(NotKept, match="tulle-mesh: is gone; expected it to be restored"):
        await one.look()

    assert layout.pack(one.mesh.root) == layout.pack(one.draft.root) == whole


async def what_holds_no_mesh_is_not_taken_up(world: World) -> None:
    one = await world.replica()
    whole = layout.pack(one.mesh.root)
    await world.patch(data={"bus.json": None})

    with pytest.raises(NotKept, match=r"has no key bus.json"):
        await one.look()

    assert layout.pack(one.mesh.root) == whole


async def what_others_change_is_taken_up(world: World) -> None:
    one, two = await world.replica(), await world.replica()
    async with anyio.create_task_group() as group:
        group.start_soon(two.run)
        write(one.draft.people_file, b"[]")
        await one.keep()
        await until(lambda: two.mesh.people_file.exists())
        assert two.draft.people_file.read_bytes() == b"[]"
        group.cancel_scope.cancel()


async def an_issuer_from_elsewhere_is_used_while_it_is_there_and_never_written_back(
    world: World,
) -> None:
    one = await world.replica()
    secrets = f"/api/v1/namespaces/{world.namespace}/secrets"
    anchor = make_anchor("cluster.local", SystemClock.now()).certificate
    data = {"tls.crt": b"crt", "tls.key": b"key", "ca.crt": chain_pem([anchor])}
    body = {"metadata": {"name": layout.ISSUER, "namespace": world.namespace}, "data": data}
    before = await world.held()
    async with anyio.create_task_group() as group:
        group.start_soon(one.run)
        await world.client.ask("POST", secrets, body={"kind": "Secret", "apiVersion": "v1", **body})
        await until(lambda: one.mesh.foreign)
        assert one.draft.foreign
        assert anchor in one.mesh.anchors()
        await one.keep()
        assert await world.held() == before

        await world.client.ask("DELETE", f"{secrets}/{layout.ISSUER}")
        await until(lambda: not one.mesh.foreign)
        group.cancel_scope.cancel()


async def what_follows_is_brought_up_to_date(world: World) -> None:
    one = await world.replica()
    derived = await world.held("tulle-bus-operator")
    await world.patch("tulle-bus-operator", data={"nkey.seed": "eA==", "more": "eA=="})

    await one.push()

    assert await world.held("tulle-bus-operator") == derived
    anchors = one.draft.anchors_file.read_bytes()
    more = chain_pem([make_anchor("cluster.local", SystemClock.now()).certificate])
    write(one.draft.anchors_file, anchors + more)
    await one.keep()
    await one.push()
    assert await world.held(layout.TRUST, "ConfigMap") == {"anchor.pem": anchors + more}


async def what_follows_is_so_from_the_start(world: World) -> None:
    """A mesh that was restored, say: with NATS's old keys nobody could come onto the bus to mend it."""
    derived = await world.held("tulle-nats")
    await world.patch("tulle-nats", data={"server.pem": "eA=="})

    await world.replica()

    assert await world.held("tulle-nats") == derived


async def what_follows_and_is_gone_is_named(world: World) -> None:
    one = await world.replica()
    path = f"/api/v1/namespaces/{world.namespace}/secrets/tulle-nats"
    await world.client.ask("DELETE", path)

    with pytest.raises(NotKept, match=r"Secret tulle-nats: is gone; .* run it again"):
        await one.push()


PROMISES: tuple[Callable[[World], Awaitable[None]], ...] = (
    a_change_is_in_force_when_it_is_durable_and_not_before,
    of_two_who_write_one_takes_what_the_other_wrote,
    two_changes_of_one_replica_are_both_kept,
    whoever_waits_while_another_s_change_is_undone_hears_of_it,
    what_is_said_about_the_secret_hinders_nobody,
    what_was_not_kept_is_undone,
    without_the_secret_it_goes_on_from_memory_and_changes_nothing,
    what_holds_no_mesh_is_not_taken_up,
    what_others_change_is_taken_up,
    an_issuer_from_elsewhere_is_used_while_it_is_there_and_never_written_back,
    what_follows_is_brought_up_to_date,
    what_follows_is_so_from_the_start,
    what_follows_and_is_gone_is_named,
)
