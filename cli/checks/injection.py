"""Whether new pods get their proxies: the webhook, its certificate, and the way to it."""

import msgspec
from cryptography import x509

from cli.checks.context import Context
from cli.checks.frame import Check, Doubtful, Group, Wrong
from cli.checks.lives import in_time, span
from cli.durations import about
from cli.kube import Json, Metadata
from common.errors import InvalidCertificate, KubernetesRefused
from common.x509 import load_certificates
from services.injector.annotations import ENABLED, INJECT
from services.injector.inject import MESHED

INJECTOR, WEBHOOK_SECRET = "tulle-injector", "tulle-injector-tls"
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
_OVERDUE = 0.8
_POD: Json = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "tulle-check",
        "labels": {"app.kubernetes.io/name": "tulle-check"},
        "annotations": {INJECT: ENABLED},
    },
    "spec": {
        "automountServiceAccountToken": False,
        "containers": [{"name": "check", "image": "tulle-check", "command": ["true"]}],
    },
}
"""Only ever tried, never made."""


class _Certificate(msgspec.Struct, frozen=True):
    crt: bytes = msgspec.field(name="tls.crt", default=b"")


class _Tls(msgspec.Struct, frozen=True):
    """A Secret of which the key is not even read."""

    data: _Certificate | None = None


class _Service(msgspec.Struct, frozen=True):
    name: str = ""
    namespace: str = ""


class _ClientConfig(msgspec.Struct, frozen=True, rename="camel"):
    ca_bundle: bytes = b""
    service: _Service = _Service()


class _Hook(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    client_config: _ClientConfig = _ClientConfig()


class _Configuration(msgspec.Struct, frozen=True):
    metadata: Metadata
    webhooks: tuple[_Hook, ...] | None = None


async def _certificate(context: Context) -> str:
    """Secret tulle-injector-tls: what the webhook shows to the API server, renewed by the injector."""
    certificate = await _shown(context)
    begins, ends = span(certificate)
    now = context.clock.now()
    if begins + _OVERDUE * (ends - begins) < now < ends:
        raise Doubtful(f"it ends in {about(ends - now)}, and should have been renewed")
    return in_time("the webhook's certificate", begins, ends, now)


async def _bundle_fits(context: Context) -> str:
    """`caBundle` of the MutatingWebhookConfiguration that has pods injected names that certificate."""
    hooks = await webhooks(context)
    if not hooks:
        raise Wrong("no MutatingWebhookConfiguration calls the injector")
    certificate = await _shown(context)
    for hook in hooks:
        bundle = hook.client_config.ca_bundle
        try:
            fits = bool(bundle) and certificate in load_certificates(bundle)
        except InvalidCertificate:
            fits = False
        if not fits:
            raise Wrong(f"{hook.name}: caBundle {'is another' if bundle else 'is empty'}")
    return ""


async def _reached(context: Context) -> str:
    """A dry run of a pod that wants a proxy: whether it would get one."""
    namespace = context.namespace or "default"
    try:
        made = await (await context.kube()).would_take(f"/api/v1/namespaces/{namespace}/pods", _POD)
    except KubernetesRefused as error:
        said = str(error).partition(": ")[2]
        if "failed calling webhook" in said:
            raise Wrong(said) from None
        raise Doubtful(f"a pod in namespace {namespace} was refused: {said}") from None
    if made.metadata.labels.get(MESHED) != "true":
        raise Wrong(f"a pod in namespace {namespace} that asks for a proxy would get none")
    return f"a pod in namespace {namespace} would get its proxy"


async def webhooks(context: Context) -> list[_Hook]:
    """What has the API server call the injector of this namespace. Raises what the API does."""
    return [
        hook
        for one in await context.all(WEBHOOKS, _Configuration)
        for hook in one.webhooks or ()
        if hook.client_config.service == _Service(INJECTOR, context.cluster.namespace)
    ]


async def _shown(context: Context) -> x509.Certificate:
    path = f"/api/v1/namespaces/{context.cluster.namespace}/secrets/{WEBHOOK_SECRET}"
    secret = await context.there(path, _Tls, f"Secret {WEBHOOK_SECRET}")
    if secret.data is None or not secret.data.crt:
        raise Wrong(f"Secret {WEBHOOK_SECRET}: no certificate yet")
    return load_certificates(secret.data.crt)[0]


INJECTION = Group(
    "injection",
    (
        Check(
            "the webhook has a certificate, renewed in time",
            _certificate,
            "the injector renews it when it holds its lease: kubectl -n tulle logs deployment/tulle-injector",
            "webhook-certificate",
        ),
        Check(
            "the Kubernetes API believes that certificate",
            _bundle_fits,
            "the injector puts it right within ten seconds while it holds its lease: look at its log",
            "webhook-bundle",
        ),
        Check(
            "the Kubernetes API reaches the injector",
            _reached,
            "may the API server connect to port 8443 of the injector's pods, past firewalls and network"
            " policies? Does MutatingWebhookConfiguration tulle-injector leave the namespace out?",
            "webhook-reached",
        ),
    ),
)
