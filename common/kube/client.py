"""One request to the Kubernetes API, or one answer that does not end.

KubernetesUnavailable is worth trying again, KubernetesRefused is not.
"""

import socket
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TypeVar

import aiohttp
import anyio
import msgspec

from common.errors import KubernetesRefused, KubernetesUnavailable
from common.kube.access import Access

T = TypeVar("T")

SECONDS = 30.0
"""A request is answered within so many seconds."""
SILENCE = 300.0
"""A watch that says nothing for so many seconds is broken: the API sends a bookmark every two minutes."""
_MOST_LOOKS = 1000
"""A millisecond apart, until connections that were let go have really gone."""
LINE_LIMIT = 32 * 1024 * 1024
FORBIDDEN, NOT_FOUND, CONFLICT, GONE = 403, 404, 409, 410
"""What KubernetesRefused.status may be, among others."""
_BUSY = frozenset({408, 429, 500, 502, 503, 504})
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


class Cause(msgspec.Struct, frozen=True):
    """One of the reasons of a Status."""

    reason: str = ""


class Details(msgspec.Struct, frozen=True, rename="camel"):
    """What a Status says beyond its message."""

    causes: tuple[Cause, ...] = ()
    retry_after_seconds: float = 0.0


class Status(msgspec.Struct, frozen=True):
    """How the API says no."""

    message: str = ""
    reason: str = ""
    code: int = 0
    details: Details = Details()


class Client:
    """A connection pool to the API: `async with Client(access) as client`."""

    def __init__(self, access: Access, agent: str = "tulle") -> None:
        self._access = access
        self._agent = agent
        self._session: aiohttp.ClientSession | None = None
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    async def __aenter__(self) -> "Client":
        # Bodies are not compressed: in a cluster the network is cheaper than the processor.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, socket_factory=self._socket),
            headers={"user-agent": self._agent, "accept": JSON, "accept-encoding": "identity"},
            trust_env=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is None:
            return
        with anyio.CancelScope(shield=True):
            await self._session.close()
            # Of a request that was cancelled aiohttp waits for the API's goodbye in TLS, which may be long.
            for one in list(self._sockets):
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            for _look in range(_MOST_LOOKS):
                if all(one.fileno() == -1 for one in self._sockets):
                    break
                await anyio.sleep(0.001)

    async def call(
        self,
        method: str,
        path: str,
        model: type[T],
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = JSON,
    ) -> T:
        """Ask, and read the answer as `model` (as much of it as that has fields).

        Raises KubernetesUnavailable, KubernetesRefused.
        """
        data = await self.ask(method, path, query=query, body=body, content_type=content_type)
        try:
            return msgspec.json.decode(data, type=model)
        except msgspec.DecodeError as error:
            raise KubernetesUnavailable(
                f"{method} {path}: answered what is no answer: {error}"
            ) from None

    async def find(self, path: str, model: type[T]) -> T | None:
        """An object as `model`; None if there is none. Raises as `call`."""
        try:
            return await self.call("GET", path, model)
        except KubernetesRefused as error:
            if error.status == NOT_FOUND:
                return None
            raise

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = JSON,
    ) -> bytes:
        """Ask, and return the answer's body. Raises KubernetesUnavailable, KubernetesRefused."""
        limits = aiohttp.ClientTimeout(total=SECONDS)
        data = None if body is None else msgspec.json.encode(body)
        async with self._open(method, path, query, limits, data, content_type) as response:
            return await response.read()

    @asynccontextmanager
    async def lines(
        self, path: str, query: Mapping[str, str]
    ) -> AsyncIterator[AsyncIterator[list[bytes]]]:
        """Follow an answer that does not end: its lines, as many at a time as came together.

        They end where the API ends them. Raises KubernetesUnavailable, KubernetesRefused.
        """
        limits = aiohttp.ClientTimeout(total=None, sock_connect=SECONDS, sock_read=SILENCE)
        async with self._open("GET", path, query, limits) as response:
            try:
                async with aclosing(_lines(response)) as lines:
                    yield lines
            finally:
                # A goodbye in TLS would be waited for, and the API has more to say first.
                if response.connection is not None and response.connection.transport is not None:
                    response.connection.transport.abort()

    def _socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, *_ = address
        made = socket.socket(family, kind, protocol)
        self._sockets.add(made)
        return made

    @asynccontextmanager
    async def _open(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        limits: aiohttp.ClientTimeout,
        data: bytes | None = None,
        content_type: str = JSON,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session is None:
            raise KubernetesUnavailable("the client is not open")
        url = await self._access.server() + path
        tls, authorization = await self._access.tls(), await self._access.authorization()
        headers = {"authorization": authorization} if authorization else {}
        if data is not None:
            headers["content-type"] = content_type
        try:
            async with self._session.request(
                method,
                url,
                params=query,
                data=data,
                headers=headers,
                ssl=tls,
                timeout=limits,
                allow_redirects=False,
            ) as response:
                if response.status >= 300:
                    raise _error(f"{method} {path}", response.status, await response.read())
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            words = str(error) or type(error).__name__
            raise KubernetesUnavailable(f"{method} {path}: {words}") from error


def status_of(body: bytes) -> Status:
    """The Status in a body; an empty one if it is none."""
    try:
        return msgspec.json.decode(body, type=Status)
    except msgspec.DecodeError:
        return Status()


def refusal(what: str, code: int, status: Status) -> KubernetesRefused | KubernetesUnavailable:
    """What to raise for a Status that answers `what`."""
    words = f"{what}: {code} {status.reason}: {status.message}"
    # A revision that the API has not reached may be another's, from before etcd was restored.
    ahead = any(cause.reason == "ResourceVersionTooLarge" for cause in status.details.causes)
    if code in _BUSY and not ahead:
        return KubernetesUnavailable(words, retry_after=status.details.retry_after_seconds)
    return KubernetesRefused(words, 410 if ahead else code, status.reason)


def _error(what: str, code: int, body: bytes) -> KubernetesRefused | KubernetesUnavailable:
    return refusal(what, code, status_of(body))


async def _lines(response: aiohttp.ClientResponse) -> AsyncGenerator[list[bytes], None]:
    rest = b""
    async for chunk in response.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n") if b"\n" in chunk else (rest + chunk,)
        if len(rest) > LINE_LIMIT:
            raise KubernetesUnavailable(f"a line of more than {LINE_LIMIT} bytes")
        if lines:
            yield lines
