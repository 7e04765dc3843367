"""Keeps the webhook trusted: its certificate in a Secret, and `caBundle` in its configuration.

Every replica reads the Secret and shows what is in it; the holder of the lease alone writes. A successor
goes into `caBundle` first and into the Secret then, so that the API server trusts it before it sees it.
"""

import logging
from base64 import b64encode
from collections.abc import Callable, Sequence

import anyio
import msgspec

from common.clock import Clock
from common.errors import KubernetesRefused, KubernetesUnavailable
from common.kube.client import Client
from common.kube.objects import Meta
from common.kube.stored import Shelf, Stored
from common.log import fields
from services.injector.serving import Serving, is_good, make

log = logging.getLogger(__name__)

TIDY_SECONDS = 10.0
LOOK_SECONDS = 5.0
_PATCH = "application/json-patch+json"
_CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"


class _Client(msgspec.Struct, frozen=True, rename="camel"):
    ca_bundle: bytes = b""


class _Webhook(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    client_config: _Client = _Client()


class _Configuration(msgspec.Struct, frozen=True):
    metadata: Meta
    webhooks: list[_Webhook] | None = None


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything lies."""

    namespace: str
    secret: str
    configuration: str
    """The MutatingWebhookConfiguration; all its webhooks are ours."""
    hosts: tuple[str, ...]
    """What the API server calls the webhook."""


class Keeper:
    """One replica's hold on both."""

    def __init__(self, client: Client, place: Place, clock: Clock) -> None:
        self._client = client
        self._place = place
        self._clock = clock
        self._shelf = Shelf(client, place.namespace)

    async def follow(self, shown: Callable[[Serving], None]) -> None:
        """Call `shown` with what the Secret holds, at first and whenever it is another; for ever."""
        last: Serving | None = None
        while True:
            try:
                found, _ = await self.look()
                if found is not None and found != last:
                    shown(found)
                    last = found
            except (KubernetesUnavailable, KubernetesRefused) as error:
                log.warning("certificate not read", extra=fields(error=error))
            await anyio.sleep(LOOK_SECONDS if last else 0.5)

    async def keep(self) -> None:
        """Write what is to be written, for ever; for the holder of the lease."""
        while True:
            try:
                await self.tidy()
            except (KubernetesUnavailable, KubernetesRefused) as error:
                log.warning("webhook not kept", extra=fields(error=error))
            await anyio.sleep(TIDY_SECONDS)

    async def tidy(self) -> None:
        """See to it once. Raises KubernetesUnavailable, KubernetesRefused."""
        found, held = await self.look()
        if found is None or not is_good(found, self._place.hosts, self._clock.now()):
            await self.renew(found, held)
        else:
            await self._trust(found.bundle)

    async def renew(self, found: Serving | None, held: Stored | None) -> None:
        """Replace what `look` found. Raises KubernetesUnavailable, KubernetesRefused."""
        previous = found.certificate if found else b""
        successor = make(self._place.hosts, self._clock.now(), previous)
        await self._trust(successor.bundle)
        await self._write(successor, held)
        log.info("webhook certificate", extra=fields(secret=self._place.secret))

    async def look(self) -> tuple[Serving | None, Stored | None]:
        """What the Secret holds, if that is a certificate, and the Secret, if there is one."""
        held = await self._shelf.read("Secret", self._place.secret)
        data = held.data if held else {}
        if not data.get("tls.crt") or not data.get("tls.key"):
            return None, held
        serving = Serving(
            certificate=data["tls.crt"],
            key=data["tls.key"],
            previous=data.get("previous.crt", b""),
        )
        return serving, held

    async def _write(self, serving: Serving, held: Stored | None) -> None:
        """Whoever has written since wins, and is read next time."""
        data = {
            "tls.crt": serving.certificate,
            "tls.key": serving.key,
            "previous.crt": serving.previous,
        }
        if held is None:
            await self._shelf.create(Stored(kind="Secret", name=self._place.secret, data=data))
        else:
            await self._shelf.change(held, {**held.data, **data})

    async def _trust(self, bundle: bytes) -> None:
        """Have every webhook of the configuration trust this; no configuration is no trouble."""
        path = f"{_CONFIGURATIONS}/{self._place.configuration}"
        found = await self._client.find(path, _Configuration)
        if found is None:
            log.warning("no webhook configuration", extra=fields(name=self._place.configuration))
            return
        if patch := _patch(found.webhooks or (), bundle):
            await self._client.ask("PATCH", path, body=patch, content_type=_PATCH)


def _patch(webhooks: Sequence[_Webhook], bundle: bytes) -> list[dict[str, str]]:
    """What changes `caBundle` where it is another; fails where the webhooks are no longer the same."""
    steps: list[dict[str, str]] = []
    for number, webhook in enumerate(webhooks):
        if webhook.client_config.ca_bundle != bundle:
            at = f"/webhooks/{number}"
            value = b64encode(bundle).decode()
            steps.append({"op": "test", "path": f"{at}/name", "value": webhook.name})
            steps.append({"op": "add", "path": f"{at}/clientConfig/caBundle", "value": value})
    return steps
