"""All objects of one kind, followed: listed once, then watched from there.

What interrupts a watch (the API's own time limit, a restart, a lost connection) is resumed from the last
revision heard of, bookmarks included. A revision that the API has forgotten (410) makes it list again; so does
a watch on which nothing is heard at all, as after etcd was restored from a backup and is not as far again.
What did not change meanwhile is not told again. Law: what has been told, played in order, is what there is.
"""

import logging
from collections.abc import Callable
from typing import Generic

import anyio
import msgspec

from common.backoff import Backoff
from common.clock import Clock, SystemClock
from common.errors import KubernetesRefused, KubernetesUnavailable
from common.kube.client import GONE, NOT_FOUND, Client, refusal, status_of
from common.kube.objects import Gone, Kind, Meta, Named, Seen, T, Unreadable
from common.latest import Latest
from common.log import fields

log = logging.getLogger(__name__)

PAGE = 500
"""Objects asked for at a time."""
SHORTEST, LONGEST = 240.0, 480.0
"""Seconds after which the API ends a watch: by chance, so that not all come back at once."""
STALE = 60.0
"""Seconds of not being able to resume after which it lists again, whatever the reason."""
SILENT = 60.0
"""Seconds of a watch in which the API has said something, if only that nothing happened."""
ABSENT = 30.0
"""Seconds after which it looks again, at most, whether a kind is known by now."""

Event = Seen[T] | Gone | Unreadable


class State(msgspec.Struct, frozen=True):
    """How following goes."""

    loaded: bool = False
    """All objects have been listed once."""
    trouble: str = ""
    """Why nothing is heard just now; empty if all is well."""


class Stats(msgspec.Struct):
    """What was counted since the start."""

    lists: int = 0
    watches: int = 0


class _Listed(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class _Page(msgspec.Struct, frozen=True):
    metadata: _Listed = _Listed()
    items: list[msgspec.Raw] | None = None


class _Bookmark(msgspec.Struct, frozen=True):
    metadata: _Listed = _Listed()


class _Line(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


class Watch(Generic[T]):
    """Follows a kind; `on_events` is called on the event loop with what changed, in order."""

    def __init__(
        self,
        client: Client,
        kind: Kind[T],
        on_events: Callable[[list[Event[T]]], None],
        *,
        page: int = PAGE,
        clock: Clock | None = None,
    ) -> None:
        self.kind = kind
        self.state = Latest(State())
        self.stats = Stats()
        self._client = client
        self._on_events = on_events
        self._page = page
        self._clock = clock or SystemClock()
        self._backoff = Backoff(self._clock, first=0.2, most=30.0)
        self._decoder = msgspec.json.Decoder(kind.model)
        self._known: dict[tuple[str, str], str] = {}
        self._revision = ""
        self._since: float | None = None

    def __repr__(self) -> str:
        return f"<Watch {self.kind.name} {len(self._known)} known at {self._revision or 'nothing'}>"

    async def run(self) -> None:
        """Follow for ever."""
        while True:
            try:
                if not self._revision:
                    await self._list()
                await self._watch()
                self._fine()
            except KubernetesRefused as error:
                await self._refused(error)
            except KubernetesUnavailable as error:
                await self._trouble(str(error), error.retry_after)

    async def _refused(self, error: KubernetesRefused) -> None:
        if error.status == GONE:
            log.info("lists again", extra=fields(kind=self.kind.name, after=self._revision))
            self._revision = ""
            # An API that forgets what it has just said must not be asked in a tight loop.
            await anyio.sleep(self._backoff.next())
        elif error.status == NOT_FOUND and self.kind.optional:
            self._revision = ""
            self._tell([self._forget(*key) for key in list(self._known)])
            self.state.set(State(loaded=True))
            await anyio.sleep(ABSENT * (0.5 + 0.5 * self._clock.random()))
        else:
            await self._trouble(str(error))

    async def _trouble(self, words: str, at_least: float = 0.0) -> None:
        wait, now = max(self._backoff.next(), at_least), self._clock.monotonic()
        told = fields(kind=self.kind.name, error=words, again_in=round(wait, 2))
        log.warning("not followed", extra=told)
        self.state.set(State(self.state.value.loaded, words))
        self._since = now if self._since is None else self._since
        if now - self._since > STALE:
            self._revision = ""
        await anyio.sleep(wait)

    def _fine(self) -> None:
        """The API speaks to us, and we have heard all that it said."""
        self._since = None
        self._backoff.reset()
        self.state.set(State(loaded=True))

    async def _list(self) -> None:
        """Tell what is other than what is known; raises KubernetesRefused, KubernetesUnavailable."""
        self.stats.lists += 1
        missing = set(self._known)
        query = self._query(limit=str(self._page))
        while True:
            page = await self._client.call("GET", self.kind.path, _Page, query=query)
            self._turn(page.items or [], missing)
            if not page.metadata.continue_:
                break
            query = self._query(limit=str(self._page), **{"continue": page.metadata.continue_})
        self._tell([self._forget(*key) for key in missing])
        self._revision = page.metadata.resource_version
        self._fine()

    def _turn(self, items: list[msgspec.Raw], missing: set[tuple[str, str]]) -> None:
        """Tell what is news on a page, and take all that is on it out of `missing`."""
        try:
            read = [self._read(item) for item in items]
        except msgspec.DecodeError as error:
            raise KubernetesUnavailable(f"list {self.kind.path}: {error}") from None
        missing.difference_update((meta.namespace, meta.name) for meta, _ in read)
        self._tell([event for _, event in read if event is not None])

    async def _watch(self) -> None:
        """Tell what happens until the API ends it; raises KubernetesRefused, KubernetesUnavailable."""
        self.stats.watches += 1
        seconds = SHORTEST + (LONGEST - SHORTEST) * self._clock.random()
        query = self._query(
            watch="1",
            allowWatchBookmarks="true",
            resourceVersion=self._revision,
            timeoutSeconds=str(round(seconds)),
        )
        began, heard = self._clock.monotonic(), False
        try:
            async with self._client.lines(self.kind.path, query) as batches:
                self.state.set(State(loaded=True))
                async for lines in batches:
                    heard = True
                    self._take(lines)
                    self._fine()
        finally:
            lasted = self._clock.monotonic() - began
            if not heard and lasted > SILENT:
                log.info(
                    "lists again", extra=fields(kind=self.kind.name, silent_after=self._revision)
                )
                self._revision = ""
        # What ends at once may go on doing so.
        if lasted < 1:
            await anyio.sleep(self._backoff.next())

    def _query(self, **more: str) -> dict[str, str]:
        return {**({"fieldSelector": self.kind.fields} if self.kind.fields else {}), **more}

    def _tell(self, events: list[Event[T]]) -> None:
        if events:
            self._on_events(events)

    def _take(self, lines: list[bytes]) -> None:
        """Tell what came together; raises KubernetesRefused, KubernetesUnavailable."""
        events: list[Event[T]] = []
        try:
            for line in filter(None, lines):
                self._revision, event = self._hear(line)
                if event is not None:
                    events.append(event)
        finally:
            self._tell(events)

    def _hear(self, line: bytes) -> tuple[str, Event[T] | None]:
        """The revision that a line is at, and what it says."""
        try:
            said = msgspec.json.decode(line, type=_Line)
            if said.type in ("ADDED", "MODIFIED"):
                meta, event = self._read(said.object)
                return meta.resource_version, event
            if said.type == "ERROR":
                status = status_of(bytes(said.object))
                raise refusal(f"watch {self.kind.path}", status.code, status)
            if said.type == "BOOKMARK":
                return msgspec.json.decode(
                    said.object, type=_Bookmark
                ).metadata.resource_version, None
            meta = _meta(said.object)
            return meta.resource_version, self._forget(meta.namespace, meta.name)
        except msgspec.DecodeError as error:
            raise KubernetesUnavailable(f"watch {self.kind.path}: {error}") from None

    def _read(self, raw: msgspec.Raw) -> tuple[Meta, Event[T] | None]:
        """Which object it is, and what it says if that is news. Raises DecodeError if it has no name."""
        event: Event[T]
        try:
            found = self._decoder.decode(raw)
        except msgspec.DecodeError as error:
            meta = _meta(raw)
            event = Unreadable(self.kind.name, meta.namespace, meta.name, str(error))
        else:
            meta = found.metadata
            event = Seen(self.kind.name, found)
        key = (meta.namespace, meta.name)
        if self._known.get(key) == meta.resource_version:
            return meta, None
        self._known[key] = meta.resource_version
        return meta, event

    def _forget(self, namespace: str, name: str) -> Gone:
        self._known.pop((namespace, name), None)
        return Gone(self.kind.name, namespace, name)


def _meta(raw: msgspec.Raw) -> Meta:
    return msgspec.json.decode(raw, type=Named).metadata
