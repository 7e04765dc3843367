"""What a pod gets: the proxy, the redirect that runs before everything else, and three volumes."""

from typing import Any

from services.injector.decide import IDENTITY, PROXY, REDIRECT, RUN, STATE
from services.injector.options import Mesh, Options

AUDIENCE = "identity.tulle.dev"
TRUST_ANCHORS = "tulle.dev/trust-anchors"
"""The pod's annotation that holds the anchors (PEM): the proxy's volume shows it as a file."""
_TOKEN_SECONDS = 86_400
_IDENTITY_PATH = "/var/run/tulle/identity"
_STATE_PATH = "/var/run/tulle/state"
_WAIT_SECONDS = 120
_FIELDS = {
    "TULLE_NAMESPACE": "metadata.namespace",
    "TULLE_WORKLOAD": "metadata.name",
    "TULLE_UID": "metadata.uid",
    "TULLE_SERVICE_ACCOUNT": "spec.serviceAccountName",
}


def proxy(mesh: Mesh, options: Options, owner: str) -> dict[str, Any]:
    """The proxy's container; `owner` is what made the pod."""
    container: dict[str, Any] = {
        "name": PROXY,
        "image": options.full_image,
        "imagePullPolicy": options.pull_policy,
        "command": ["python", "-m", "proxy"],
        "env": _env(mesh, options, owner),
        "ports": [
            {"name": PROXY, "containerPort": options.inbound_port, "protocol": "TCP"},
            {"name": "tulle-admin", "containerPort": options.admin_port, "protocol": "TCP"},
        ],
        "livenessProbe": _probe("/live", options.admin_port, initialDelaySeconds=10),
        "readinessProbe": _probe("/ready", options.admin_port, initialDelaySeconds=2),
        **_resources(options),
        "securityContext": _hardened(options.uid, options.gid),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": IDENTITY, "mountPath": _IDENTITY_PATH, "readOnly": True},
            {"name": STATE, "mountPath": _STATE_PATH},
        ],
    }
    if options.native:
        container["restartPolicy"] = "Always"
        if options.wait:
            container["startupProbe"] = _probe(
                "/ready", options.admin_port, periodSeconds=1, failureThreshold=_WAIT_SECONDS
            )
    elif lifecycle := _lifecycle(options):
        container["lifecycle"] = lifecycle
    return container


def redirect(options: Options) -> dict[str, Any]:
    """The init container that sends the pod's connections to its proxy; it alone has capabilities."""
    flags = {
        "incoming-proxy-port": options.inbound_port,
        "outgoing-proxy-port": options.outbound_port,
        "admin-port": options.admin_port,
        "proxy-uid": options.uid,
        "proxy-gid": options.gid,
        "inbound-ports-to-ignore": options.skip_inbound_ports,
        "outbound-ports-to-ignore": options.skip_outbound_ports,
        "subnets-to-ignore": options.skip_subnets or None,
    }
    words = [f"--{flag}={value}" for flag, value in flags.items() if value is not None]
    return {
        "name": REDIRECT,
        "image": options.full_image,
        "imagePullPolicy": options.pull_policy,
        "command": ["python", "-m", "proxy.redirect", *words],
        **_resources(options),
        "securityContext": {
            **_hardened(0, 0),
            "runAsNonRoot": False,
            "capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": RUN, "mountPath": "/run"}],
    }


def volumes() -> list[dict[str, Any]]:
    """Token and trust anchors, the proxy's private memory, and a place for the lock of iptables."""
    token = {
        "audience": AUDIENCE,
        "expirationSeconds": _TOKEN_SECONDS,
        "path": "token",
    }
    anchors = {
        "path": "trust-anchors.pem",
        "fieldRef": {"fieldPath": f"metadata.annotations['{TRUST_ANCHORS}']"},
    }
    return [
        {
            "name": IDENTITY,
            "projected": {
                "sources": [{"serviceAccountToken": token}, {"downwardAPI": {"items": [anchors]}}]
            },
        },
        {"name": STATE, "emptyDir": {"medium": "Memory"}},
        {"name": RUN, "emptyDir": {}},
    ]


def _env(mesh: Mesh, options: Options, owner: str) -> list[dict[str, Any]]:
    refers = [
        {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}
        for name, path in _FIELDS.items()
    ]
    plain = {
        "TULLE_OWNER": owner,
        "TULLE_BUS": ",".join(mesh.bus),
        "TULLE_TRUST_ANCHORS_FILE": f"{_IDENTITY_PATH}/trust-anchors.pem",
        "TULLE_TOKEN_FILE": f"{_IDENTITY_PATH}/token",
        # Kubernetes makes the volume, the proxy a folder in it that is its own alone.
        "TULLE_STATE_DIR": f"{_STATE_PATH}/proxy",
        "TULLE_TRUST_DOMAIN": mesh.trust_domain,
        "TULLE_CLUSTER_DOMAIN": mesh.cluster_domain,
        # Where the kernel redirects to: loopback on the way out, the pod's own addresses on the way in.
        "TULLE_OUTBOUND_LISTEN": f"127.0.0.1:{options.outbound_port},[::1]:{options.outbound_port}",
        "TULLE_INBOUND_LISTEN": f"*:{options.inbound_port}",
        "TULLE_ADMIN_LISTEN": f"*:{options.admin_port}",
        "TULLE_OUTBOUND_CONNECT_SECONDS": f"{options.outbound_connect_seconds:g}",
        "TULLE_INBOUND_CONNECT_SECONDS": f"{options.inbound_connect_seconds:g}",
        "TULLE_SHUTDOWN_GRACE_SECONDS": f"{options.shutdown_grace_seconds:g}",
        "TULLE_LOG_LEVEL": options.log_level,
        "TULLE_LOG_FORMAT": options.log_format,
    }
    known = [{"name": name, "value": value} for name, value in plain.items() if value]
    more = {variable.name: variable.plain for variable in options.env}
    return [*refers, *(one for one in known if one["name"] not in more), *more.values()]


def _lifecycle(options: Options) -> dict[str, Any]:
    """Of a classic sidecar: the containers after it start when it is ready; it leaves after them."""
    hooks: dict[str, Any] = {}
    if options.wait:
        port, seconds = f"--port={options.admin_port}", f"--timeout={_WAIT_SECONDS}"
        hooks["postStart"] = {"exec": {"command": ["python", "-m", "proxy.ready", port, seconds]}}
    if options.wait_before_exit_seconds:
        wait = str(options.wait_before_exit_seconds)
        hooks["preStop"] = {"exec": {"command": ["sleep", wait]}}
    return hooks


def _probe(path: str, port: int, **more: int) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": port}, "timeoutSeconds": 1, **more}


def _resources(options: Options) -> dict[str, Any]:
    requests = {
        "cpu": options.cpu_request,
        "memory": options.memory_request,
        "ephemeral-storage": options.storage_request,
    }
    limits = {
        "cpu": options.cpu_limit,
        "memory": options.memory_limit,
        "ephemeral-storage": options.storage_limit,
    }
    both = {"requests": requests, "limits": limits}
    chosen = {kind: {k: v for k, v in of.items() if v} for kind, of in both.items()}
    filled = {kind: of for kind, of in chosen.items() if of}
    return {"resources": filled} if filled else {}


def _hardened(uid: int, gid: int | None) -> dict[str, Any]:
    """As the Pod Security Standards' `restricted` wants it."""
    context: dict[str, Any] = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": uid,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return context if gid is None else context | {"runAsGroup": gid}
