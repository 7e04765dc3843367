"""In place of the injector: a webhook that does no more than label a pod as meshed."""

import base64
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from common.clock import SystemClock
from common.nats_server import free_port
from services.injector.serving import make
from tests.support.cluster import Cluster

_LABEL = [{"op": "add", "path": "/metadata/labels/tulle.dev~1meshed", "value": "true"}]


@asynccontextmanager
async def labelling(cluster: Cluster, name: str, folder: Path) -> AsyncIterator[None]:
    """Answers the API server for pods labelled `app.kubernetes.io/name: tulle-check`, until it is left.

    `name` is that of the MutatingWebhookConfiguration, which a test may delete before.
    """
    shown, port = make(["localhost"], SystemClock().now()), free_port()
    held = folder / "labelling.pem"
    held.write_bytes(shown.held)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(held)
    application = web.Application()
    application.router.add_post("/", _answer)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
        labels = {"matchLabels": {"app.kubernetes.io/name": "tulle-check"}}
        cluster.apply(
            configuration(
                name,
                {"url": f"https://localhost:{port}/"},
                shown.bundle,
                objectSelector=labels,
            )
        )
        yield
    finally:
        cluster.kubectl("delete", "mutatingwebhookconfiguration", name, "--ignore-not-found")
        await runner.cleanup()


async def _answer(request: web.Request) -> web.Response:
    review: dict[str, Any] = await request.json()
    patch = base64.b64encode(json.dumps(_LABEL).encode()).decode()
    review["response"] = {
        "uid": review.pop("request")["uid"],
        "allowed": True,
        "patchType": "JSONPatch",
        "patch": patch,
    }
    return web.json_response(review)


def configuration(
    name: str, client: dict[str, Any], bundle: bytes, **selector: dict[str, Any]
) -> dict[str, Any]:
    """What has the API server call a webhook for new pods that are selected, and go on without an answer."""
    hook: dict[str, Any] = {
        "name": "injector.tulle.dev",
        "clientConfig": {**client, "caBundle": base64.b64encode(bundle).decode()},
        "rules": [
            {
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "operations": ["CREATE"],
                "resources": ["pods"],
            }
        ],
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Ignore",
        **selector,
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [hook],
    }
