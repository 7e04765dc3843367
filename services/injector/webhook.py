"""The webhook: Kubernetes asks over HTTPS, and is told yes, with a patch or without.

What goes wrong here never refuses a pod by itself: the API server is told that we failed, and does what
the configuration's failurePolicy says.
"""

import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Self

import anyio
from aiohttp import web

from common.errors import InvalidSettings, KubernetesRefused, KubernetesUnavailable, MeshError
from common.log import fields
from services.injector import review
from services.injector.decide import mapping
from services.injector.inject import Injection, inject, owner_of
from services.injector.journal import Told
from services.injector.options import Mesh

log = logging.getLogger(__name__)

_GRACE_SECONDS = 5.0
_MOST_BYTES = 8 * 1024 * 1024
"""Of a question; etcd takes objects of up to 1.5 MB."""


class Webhook:
    """Answers on `listen` from `async with` on."""

    def __init__(
        self,
        listen: str,
        tls: ssl.SSLContext | None,
        *,
        mesh: Callable[[], Mesh],
        namespace: Callable[[str], Awaitable[Mapping[str, str]]],
        heard: Callable[[], None],
        note: Callable[[Told], None],
    ) -> None:
        host, _, port = listen.rpartition(":")
        self._where = host.strip("[]"), int(port)
        self._tls = tls
        self._mesh = mesh
        self._namespace = namespace
        self._heard = heard
        self._note = note
        app = web.Application(client_max_size=_MOST_BYTES)
        app.router.add_post("/", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_GRACE_SECONDS)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._runner.addresses[0][1])

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, *self._where, ssl_context=self._tls).start()
        except OSError as error:
            await self._runner.cleanup()
            where = ":".join(map(str, self._where))
            raise InvalidSettings(
                f"webhook: cannot listen on {where}: {error.strerror or error}"
            ) from None
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Whoever asks while we are told to end is still answered.
        with anyio.move_on_after(2 * _GRACE_SECONDS, shield=True):
            await self._runner.cleanup()

    async def _answer(self, asked: web.Request) -> web.Response:
        self._heard()
        try:
            request = review.read(await asked.read())
        except review.InvalidReview as error:
            return web.Response(status=400, text=f"{error}\n")
        if not request.is_pod:
            return _json(review.answer(request.uid))
        try:
            result = await self._inject(request)
        except (KubernetesRefused, KubernetesUnavailable, MeshError) as error:
            log.warning(
                "pod not judged", extra=fields(namespace=request.namespace, error=str(error))
            )
            return web.Response(status=503, text=f"{error}\n")
        return _json(review.answer(request.uid, result.operations, result.warnings))

    async def _inject(self, request: review.Request) -> Injection:
        above = await self._namespace(request.namespace)
        result = inject(request.object, self._mesh(), above)
        metadata = mapping(request.object.get("metadata"))
        told = Told(
            namespace=request.namespace,
            pod=str(metadata.get("name") or metadata.get("generateName") or owner_of(metadata)),
            owner=review.owner(request.object, request.namespace),
            result=result,
            dry_run=request.dry_run,
        )
        self._note(told)
        return result


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")
