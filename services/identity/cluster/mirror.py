"""The mesh directory of a replica, filled from the Secret `tulle-mesh` and kept like it.

What is changed in the Secret is taken up. What this replica changes goes into the Secret first, provided that
it is still as it was read, and is in force then: a rotation never goes on from what only one replica knows.
While the API is away everything goes on from memory, and nothing is changed.

Rights, all in the namespace of the mesh:
    get, list, watch, patch   secrets: tulle-mesh
    get, list, watch          secrets: tulle-issuer
    get, patch                secrets: tulle-nats, tulle-bus-*; configmaps: tulle-trust
It creates nothing: whoever may create Secrets may have a token of any account made in one.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import anyio
import msgspec

from common.backoff import Backoff
from common.clock import Clock
from common.errors import InvalidSettings, KubernetesRefused, KubernetesUnavailable
from common.kube.client import Client
from common.kube.objects import Kind, Named
from common.kube.stored import Shelf, Stored
from common.kube.watch import Watch
from common.log import fields
from services.identity.cluster import layout
from services.identity.directory import MeshDirectory
from services.identity.store import NotKept

log = logging.getLogger(__name__)

AGAIN_SECONDS = 30.0
"""How often to see to it that what was derived is still so."""
_Failed = (KubernetesUnavailable, KubernetesRefused)


class Mirror:
    """One replica's mesh directory and its draft, in `folder`, which is to be in memory."""

    def __init__(self, client: Client, namespace: str, folder: Path, clock: Clock) -> None:
        self.mesh = MeshDirectory(folder / "mesh")
        self.draft = MeshDirectory(folder / "draft")
        self._client = client
        self._shelf = Shelf(client, namespace)
        self._clock = clock
        self._lock = anyio.Lock()
        self._news = anyio.Event()
        self._undone = 0
        self._held = Stored(kind="Secret", name=layout.MESH, data={})
        self._issuer: Stored | None = None
        self._pushed: dict[str, tuple[Mapping[str, bytes], float]] = {}

    async def fill(self) -> None:
        """Wait for the Secret, however long that takes, and fill the directory.

        Raises InvalidSettings if it holds no mesh directory, or the folder cannot be written.
        """
        backoff, waits = Backoff(self._clock, first=0.5, most=5.0), False
        while True:
            try:
                if await self._shelf.read("Secret", layout.MESH) is not None:
                    await self._refresh()
                    await self._push_once()
                    return
                if not waits:
                    where = fields(secret=layout.MESH, namespace=self._shelf.namespace)
                    log.warning("waiting for the bootstrap Job to make the mesh", extra=where)
                waits = True
            except NotKept as error:
                raise InvalidSettings(f"namespace {self._shelf.namespace}: {error}") from None
            except OSError as error:
                raise InvalidSettings(f"{error.filename}: {error.strerror}") from None
            except _Failed as error:
                log.warning("the mesh cannot be read yet", extra=fields(error=str(error)))
            await anyio.sleep(backoff.next())

    async def run(self) -> None:
        """Take up what is changed in the Secrets, for ever."""
        async with anyio.create_task_group() as group:
            for name in (layout.MESH, layout.ISSUER):
                kind = Kind(
                    name="Secret",
                    plural="secrets",
                    model=Named,
                    namespace=self._shelf.namespace,
                    fields=f"metadata.name={name}",
                )
                watch = Watch(self._client, kind, lambda _: self._news.set(), clock=self._clock)
                group.start_soon(watch.run)
            while True:
                await self._news.wait()
                self._news = anyio.Event()
                await self._take_up()

    async def look(self) -> None:
        """Have directory and draft be what the Secret holds; raises NotKept, OSError."""
        with _told(f"Secret {layout.MESH}: cannot be read"):
            await self._refresh()
        # What was changed and never kept is no longer there.
        self._lay_out()

    async def keep(self) -> None:
        """Write the draft to the Secret, and then to the directory; raises NotKept, OSError."""
        # Whatever undoes somebody's change of the draft while they wait here has undone this one, too.
        undone = self._undone
        async with self._lock:
            if undone != self._undone:
                raise NotKept(
                    f"Secret {layout.MESH}: not written: something else was not, meanwhile"
                )
            wanted = {**self._unknown(), **layout.pack(self.draft.root)}
            if wanted == self._held.data:
                return
            try:
                with _told(f"Secret {layout.MESH}: not written"):
                    await self._write(wanted)
            except NotKept:
                self._lay_out()
                raise

    async def push(self) -> None:
        """Have everything that follows from the directory be so; raises NotKept, InvalidSettings."""
        for thing in layout.derived(self.mesh):
            data, at = self._pushed.get(thing.name, (None, 0.0))
            if data == thing.data and self._clock.monotonic() - at < AGAIN_SECONDS:
                continue
            with _told(f"{thing}: not brought up to date"):
                await self._push(thing)
            self._pushed[thing.name] = thing.data, self._clock.monotonic()

    async def _push_once(self) -> None:
        """As `push`, by whoever starts, with or without the lease: there is none where NATS has other keys."""
        try:
            await self.push()
        except NotKept as error:
            log.warning("not all follows from the mesh", extra=fields(error=str(error)))
        self._pushed.clear()

    async def _push(self, thing: Stored) -> None:
        found = await self._shelf.read(thing.kind, thing.name)
        if found is None:
            raise NotKept(f"{thing}: is gone; expected what the bootstrap Job makes: run it again")
        if dict(found.data) == dict(thing.data):
            return
        if await self._shelf.change(found, thing.data) is None:
            raise NotKept(f"{thing}: changed by somebody else at this moment")
        log.info("brought up to date", extra=fields(object=str(thing)))

    async def _write(self, wanted: Mapping[str, bytes]) -> None:
        revision = await self._shelf.change(self._held, wanted)
        if revision is None:
            before = self._held
            await self._read()
            if self._held.data != before.data:
                raise NotKept(f"{self._held}: changed by somebody else meanwhile; that is in force")
            # Only what is said about it was changed.
            revision = await self._shelf.change(self._held, wanted)
            if revision is None:
                raise NotKept(f"{self._held}: changed again and again by somebody else")
        self._held = msgspec.structs.replace(self._held, data=wanted, revision=revision)
        # In the draft there may be more by now.
        self._place(self.mesh)

    async def _take_up(self) -> None:
        backoff = Backoff(self._clock, first=0.5, most=30.0)
        while True:
            try:
                await self._refresh()
            except (NotKept, OSError, *_Failed) as error:
                told = fields(error=str(error), secret=layout.MESH)
                log.warning("going on from memory: the mesh cannot be taken up", extra=told)
                if isinstance(error, NotKept):
                    return
                await anyio.sleep(backoff.next())
            else:
                return

    async def _refresh(self) -> None:
        async with self._lock:
            before = self._held.revision, self._issuer
            await self._read()
            if (self._held.revision, self._issuer) != before:
                self._lay_out()
                log.info("mesh taken up", extra=fields(revision=self._held.revision))

    async def _read(self) -> None:
        """What the Secrets hold now, if that can be a mesh."""
        held = await self._shelf.read("Secret", layout.MESH)
        if held is None:
            raise NotKept(
                f"Secret {layout.MESH}: is gone; expected it to be restored from a backup"
            )
        if not held.data.get("bus.json"):
            raise NotKept(f"Secret {layout.MESH}: has no key bus.json; expected a mesh directory")
        issuer = await self._shelf.read("Secret", layout.ISSUER)
        self._held, self._issuer = held, issuer

    def _lay_out(self) -> None:
        """Have both folders be what is held."""
        self._undone += 1
        self._place(self.draft)
        self._place(self.mesh)

    def _place(self, mesh: MeshDirectory) -> None:
        layout.unpack(self._held.data, mesh.root)
        layout.place_issuer(self._issuer.data if self._issuer else None, mesh.root)

    def _unknown(self) -> dict[str, bytes]:
        """Keys that are no files of ours: they stay."""
        return {k: v for k, v in self._held.data.items() if layout.path_of(k) is None}


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Whatever Kubernetes says to it, it was not done; raises NotKept."""
    try:
        yield
    except _Failed as error:
        raise NotKept(f"{what}: {error}") from None
