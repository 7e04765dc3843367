"""What `tulle install --set KEY=VALUE` knows: each key, what it takes, and what it changes."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cli.manifests import Json, Manifests, container, has_variable, pod, set_variable
from common.errors import InvalidName
from common.names import check_subdomain
from services.injector import values
from services.injector.annotations import PREFIX, said
from services.injector.options import Options

SERVICES = ("identity", "destination", "injector", "telemetry")
ALL = ("nats", *SERVICES)
LEAST_STORAGE = "5Gi"
"""JetStream is told that it may have four."""


@dataclass(frozen=True)
class Key:
    """One key: what it is for people, how its value is read (ValueError), and what it does."""

    help: str
    read: Callable[[str], Any]
    change: Callable[[Manifests, Any], None]


def apply(manifests: Manifests, settings: Sequence[str]) -> list[str]:
    """Change what `KEY=VALUE` say, in their order; the mistakes, each in words."""
    mistakes, proxies = [], dict[str, str]()
    for text in settings:
        name, equals, value = text.partition("=")
        key = KEYS.get(name)
        if not equals:
            mistakes.append(f"{text!r}: expected KEY=VALUE")
        elif name.startswith(PREFIX):
            proxies[name] = value
        elif key is None:
            mistakes.append(f"{name!r}: no such key; expected one of {', '.join([*KEYS, ANY])}")
        else:
            try:
                key.change(manifests, key.read(value))
            except (ValueError, InvalidName) as error:
                mistakes.append(f"{name}: {error}")
    mistakes += said(proxies, {}, Options()).warnings
    if proxies and not mistakes:
        _default(manifests, proxies)
    return mistakes


def listed() -> Iterator[tuple[str, str]]:
    """Every key with its help."""
    yield from ((name, key.help) for name, key in KEYS.items())
    yield ANY, "what holds for every pod that is not annotated so itself, see docs/injection.md"


def images(manifests: Manifests, control: str | None, proxy: str | None) -> None:
    """Take these images. Raises ValueError."""
    if control is not None:
        for workload in manifests.workloads():
            container(workload)["image"] = values.image(control)
    if proxy is not None:
        _variable(manifests, "TULLE_PROXY_IMAGE", values.image(proxy))


def _service(name: str) -> Callable[[Manifests], Json]:
    kind = "StatefulSet" if name == "nats" else "Deployment"
    return lambda manifests: manifests.one(kind, f"tulle-{name}")


def _replicas(name: str) -> Key:
    def change(manifests: Manifests, count: int) -> None:
        _service(name)(manifests)["spec"]["replicas"] = count

    return Key("how many there are, 1 to 9", _from_one(9), change)


def _request(name: str, what: str) -> Key:
    def change(manifests: Manifests, amount: str) -> None:
        container(_service(name)(manifests))["resources"]["requests"][what] = amount

    return Key(f"how much {what} it asks for", values.quantity, change)


def _from_one(most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        number = values.count(most)(text)
        if not number:
            raise values.wrong(text, f"a whole number from 1 to {most}")
        return number

    return read


def _storage(text: str) -> str:
    if values.amount(text) < values.amount(LEAST_STORAGE):
        raise values.wrong(text, f"an amount of at least {LEAST_STORAGE}")
    return text


def _claim(manifests: Manifests) -> Json:
    (claim,) = _service("nats")(manifests)["spec"]["volumeClaimTemplates"]
    spec: Json = claim["spec"]
    return spec


def _set_storage(manifests: Manifests, amount: str) -> None:
    _claim(manifests)["resources"]["requests"]["storage"] = amount


def _set_class(manifests: Manifests, name: str) -> None:
    _claim(manifests)["storageClassName"] = name


def _domain(text: str) -> str:
    return check_subdomain(text, "domain")


def _name(text: str) -> str:
    return check_subdomain(text, "name")


def _variable(manifests: Manifests, name: str, value: str) -> None:
    for workload in manifests.workloads():
        if has_variable(workload, name):
            set_variable(workload, name, value)


def _everywhere(name: str) -> Callable[[Manifests, str], None]:
    return lambda manifests, value: _variable(manifests, name, value)


def _set_pull_policy(manifests: Manifests, policy: str) -> None:
    for workload in manifests.workloads():
        container(workload)["imagePullPolicy"] = policy
    _default(manifests, {PREFIX + "image-pull-policy": policy})


def _set_pull_secret(manifests: Manifests, name: str) -> None:
    for workload in manifests.workloads():
        pod(workload)["imagePullSecrets"] = [{"name": name}]


def _default(manifests: Manifests, annotations: Mapping[str, str]) -> None:
    """Have the injector take these where a pod says nothing."""
    injector = _service("injector")(manifests)
    env = {one["name"]: one.get("value", "") for one in container(injector)["env"]}
    known = json.loads(env.get("TULLE_PROXY_DEFAULTS") or "{}")
    more = {name.removeprefix(PREFIX): str(value) for name, value in annotations.items()}
    set_variable(injector, "TULLE_PROXY_DEFAULTS", json.dumps(known | more))


def _webhook(field: str) -> Callable[[Manifests, Any], None]:
    def change(manifests: Manifests, value: Any) -> None:
        for webhook in manifests.one("MutatingWebhookConfiguration", "tulle-injector")["webhooks"]:
            webhook[field] = value

    return change


ANY = f"{PREFIX}NAME"
KEYS: Mapping[str, Key] = {
    "trustDomain": Key(
        "the mesh's trust domain; with the first install",
        _domain,
        _everywhere("TULLE_TRUST_DOMAIN"),
    ),
    "clusterDomain": Key(
        "the suffix of service names", _domain, _everywhere("TULLE_CLUSTER_DOMAIN")
    ),
    "imagePullPolicy": Key(
        "Always, IfNotPresent or Never, of the control plane and of proxies",
        values.one_of("Always", "IfNotPresent", "Never"),
        _set_pull_policy,
    ),
    "imagePullSecret": Key(
        "a Secret in namespace tulle, for the images of the control plane", _name, _set_pull_secret
    ),
    "logLevel": Key(
        "debug, info, warning or error, of the services",
        values.log_level,
        _everywhere("TULLE_LOG_LEVEL"),
    ),
    "logFormat": Key(
        "plain or json, of the services",
        values.one_of("plain", "json"),
        _everywhere("TULLE_LOG_FORMAT"),
    ),
    "nats.storage": Key(
        f"the size of each volume, {LEAST_STORAGE} or more; with the first install",
        _storage,
        _set_storage,
    ),
    "nats.storageClass": Key("the class of the volumes; with the first install", _name, _set_class),
    **{f"{name}.replicas": _replicas(name) for name in SERVICES},
    **{f"{name}.cpu": _request(name, "cpu") for name in ALL},
    **{f"{name}.memory": _request(name, "memory") for name in ALL},
    "webhook.failurePolicy": Key(
        "Ignore: while the injector is away pods start without a proxy; Fail: they do not start",
        values.one_of("Ignore", "Fail"),
        _webhook("failurePolicy"),
    ),
    "webhook.timeoutSeconds": Key(
        "how long Kubernetes waits for the injector, 1 to 30",
        _from_one(30),
        _webhook("timeoutSeconds"),
    ),
}
