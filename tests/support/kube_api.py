"""As much of the Kubernetes API as Tulle needs, in memory: lists in pages, watches, bookmarks, 410; and one
object at a time: get, create, merge patch with a precondition.

`tests/kube` runs the same promises over this and over the real thing.
"""

import json
import ssl
from asyncio import Event
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from aiohttp import web

Json = dict[str, Any]


class PlainAccess:
    """The API at an address, without TLS."""

    def __init__(self, url: str, token: str = "secret") -> None:
        self.url = url
        self.token = token
        self._context = ssl.create_default_context()

    async def server(self) -> str:
        return self.url

    async def tls(self) -> ssl.SSLContext:
        return self._context

    async def authorization(self) -> str:
        return f"Bearer {self.token}"


class KubeApi:
    """Objects of any kind, by path. What is changed is heard by all who watch."""

    def __init__(self) -> None:
        self.revision = 100
        self.forgotten = 0
        """Revisions up to this one are forgotten: who asks for them is told 410."""
        self.requests: list[Json] = []
        """The query of each request, its path as `path`."""
        self.refusals: list[tuple[int, Json]] = []
        """Status and headers' worth of the next answers, instead of what was asked for."""
        self.unknown: set[str] = set()
        """Paths that the API does not know."""
        self.up = True
        self.silent = False
        """Who watches hears nothing: so it is above the revisions of an etcd that was restored."""
        self._objects: dict[str, dict[tuple[str, str], Json]] = {}
        self._history: list[tuple[int, str, str, Json]] = []
        self._news = Event()
        self._cut = Event()

    def put(self, path: str, item: Json) -> None:
        """Create or replace an object."""
        self.revision += 1
        meta = {"namespace": "shop", **item["metadata"], "resourceVersion": str(self.revision)}
        item = {**item, "metadata": meta}
        found = self._objects.setdefault(path, {})
        key = (meta["namespace"], meta["name"])
        self._tell(path, "MODIFIED" if key in found else "ADDED", item)
        found[key] = item

    def delete(self, path: str, name: str, namespace: str = "shop") -> None:
        """Take an object away."""
        self.revision += 1
        item = self._objects[path].pop((namespace, name))
        item["metadata"]["resourceVersion"] = str(self.revision)
        self._tell(path, "DELETED", item)

    def bookmark(self, path: str) -> None:
        """Tell who watches how far the world is."""
        self._tell(path, "BOOKMARK", {"metadata": {"resourceVersion": str(self.revision)}})

    def say(self, path: str, what: str, item: Json) -> None:
        """Send anything at all to who watches."""
        self._tell(path, what, item)

    def forget(self) -> None:
        """Forget all history, as etcd does when it compacts."""
        self.forgotten = self.revision

    def cut(self) -> None:
        """Break every connection that watches."""
        self._cut.set()
        self._cut = Event()

    def asked(self, **query: str) -> list[Json]:
        """The requests whose query has these."""
        return [r for r in self.requests if all(r.get(k) == v for k, v in query.items())]

    def _tell(self, path: str, what: str, item: Json) -> None:
        self._history.append((self.revision, path, what, item))
        self._news.set()
        self._news = Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        query = dict(request.query)
        self.requests.append({**query, "path": request.path, **dict(request.headers)})
        if not self.up:
            return _status(503, "ServiceUnavailable")
        if self.refusals:
            code, more = self.refusals.pop(0)
            return _status(code, **more)
        if request.path in self.unknown:
            return _status(404, "NotFound")
        if request.method != "GET" or self._is_object(request.path):
            return await self._one(request)
        if "watch" not in query:
            return self._list(request.path, query)
        if int(query["resourceVersion"]) < self.forgotten:
            return _status(410, "Expired")
        return await self._watch(request, int(query["resourceVersion"]))

    def _is_object(self, path: str) -> bool:
        parts = path.rsplit("/namespaces/", 1)
        return len(parts) == 2 and parts[1].count("/") == 2

    async def _one(self, request: web.Request) -> web.Response:
        path, _, name = request.path.rpartition("/")
        if request.method == "POST":
            made = await request.json()
            key = (made["metadata"]["namespace"], made["metadata"]["name"])
            if key in self._objects.get(request.path, {}):
                return _status(409, "AlreadyExists")
            self.put(request.path, made)
            return web.json_response(self._objects[request.path][key], status=201)
        key = (path.rsplit("/", 2)[1], name)
        found = self._objects.get(path, {}).get(key)
        if found is None:
            return _status(404, "NotFound")
        if request.method == "DELETE":
            self.delete(path, name, key[0])
            return _status(200)
        if request.method == "PATCH":
            patch = await request.json()
            wanted = patch["metadata"].pop("resourceVersion", "")
            if wanted not in ("", found["metadata"]["resourceVersion"]):
                return _status(409, "Conflict")
            self.put(path, merged(found, patch))
        return web.json_response(self._objects[path][key])

    def _list(self, path: str, query: dict[str, str]) -> web.Response:
        start = int(query.get("continue", 0))
        end = start + int(query.get("limit", 1_000_000))
        items = list(self._objects.get(path, {}).values())
        more = {"continue": str(end)} if end < len(items) else {}
        meta = {"resourceVersion": str(self.revision), **more}
        return web.json_response({"kind": "List", "metadata": meta, "items": items[start:end]})

    async def _watch(self, request: web.Request, revision: int) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        cut = self._cut
        told = next((n for n, h in enumerate(self._history) if h[0] > revision), len(self._history))
        while not cut.is_set():
            news = self._news
            for _, path, what, item in self._history[told:]:
                if path == request.path and not self.silent:
                    await response.write(
                        json.dumps({"type": what, "object": item}).encode() + b"\n"
                    )
            told = len(self._history)
            await _first(news, cut)
        if request.transport is not None:
            request.transport.close()
        return response


def merged(target: Json, patch: Json) -> Json:
    """RFC 7396."""
    result = dict(target)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            result[key] = merged(result.get(key) or {}, value)
        else:
            result[key] = value
    return result


async def _first(*events: Event) -> None:
    async with anyio.create_task_group() as group:

        async def wait(event: Event) -> None:
            await event.wait()
            group.cancel_scope.cancel()

        for event in events:
            group.start_soon(wait, event)


def _status(code: int, reason: str = "", **more: Any) -> web.Response:
    body = {"kind": "Status", "code": code, "reason": reason, "message": reason.lower(), **more}
    return web.json_response(body, status=code)


@asynccontextmanager
async def kube_api() -> AsyncIterator[tuple[KubeApi, PlainAccess]]:
    """The API on a port of loopback, and how it is reached."""
    api = KubeApi()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", api.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield api, PlainAccess(f"http://{host}:{port}")
    finally:
        api.cut()
        await runner.cleanup()
