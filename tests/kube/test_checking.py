"""`tulle check` on a real API server: before installing, of the control plane, of a namespace's proxies."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
import yaml

from cli.checks.before import INSTALLED
from cli.manifests import FOLDER
from common.bus import Bus
from common.clock import SystemClock
from common.contract import subjects
from common.contract.discovery import Endpoint, EndpointSlice, Settings
from common.contract.events import Ack, ShownLeaf
from common.lease import Lease
from common.names import ServiceName, WorkloadName
from common.version import VERSION
from common.x509 import key_id
from services.identity.permissions import Role
from services.injector.serving import make
from tests.support.cluster import Cluster
from tests.support.identity import Mesh, nats
from tests.support.in_a_cluster import Operator, put_keys, workload
from tests.support.labelling import configuration, labelling
from tests.support.nats import until_told

pytestmark = pytest.mark.anyio

Findings = dict[str, dict[str, Any]]
DEPLOYMENTS = ("identity", "destination", "injector", "telemetry")


def found(text: str) -> Findings:
    """What was found, by where there is more about it, or by the check's name if it is well."""
    return {
        finding["more"].rpartition("#")[2] or finding["check"]: finding
        for finding in json.loads(text)["findings"]
    }


def trouble(text: str) -> dict[str, str]:
    """The messages of what is not well, by its anchor."""
    return {anchor: f["message"] for anchor, f in found(text).items() if f["result"] != "ok"}


@pytest.fixture
def outsider(cluster: Cluster, tmp_path: Path) -> Operator:
    """Somebody at a cluster without a mesh."""
    return Operator(cluster, "not-there-yet", None, tmp_path)


def test_the_rights_that_are_looked_for_are_those_that_the_manifests_need() -> None:
    documents = [
        document
        for file in FOLDER.glob("*.yaml")
        for document in yaml.safe_load_all(file.read_text())
        if document
    ]
    kinds = {(d["kind"], d["apiVersion"].rpartition("/")[0]) for d in documents}

    # The bootstrap Job makes ConfigMaps; whoever makes its Role has to have that right as well.
    assert kinds | {("ConfigMap", "")} == {(kind, group) for kind, group, _, _ in INSTALLED}


async def test_before_installing_a_fresh_cluster_is_well(
    cluster: Cluster, outsider: Operator
) -> None:
    done = await outsider.quickly("check", "--pre", "-o", "json")

    assert done.exit_code == 0, done.output
    # There are no nodes and no volumes here.
    assert set(trouble(done.stdout)) == {"nodes", "storage"}


async def test_before_installing_what_stands_in_the_way_is_told(
    cluster: Cluster, outsider: Operator, namespace: str
) -> None:
    level = "pod-security.kubernetes.io/enforce=restricted"
    cluster.kubectl("label", "namespace", namespace, level)
    cluster.kubectl("create", "serviceaccount", "nobody", "-n", namespace)
    token = cluster.kubectl("create", "token", "nobody", "-n", namespace).strip()
    nobody = str(cluster.write_kubeconfig("nobody-at-all", token))
    cluster.kubectl("create", "secret", "generic", "tulle-nats", "-n", namespace)
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": f"old-{namespace}"},
        "status": {"nodeInfo": node_info("v1.28.9")},
    }
    cluster.apply(node)

    there = await outsider.quickly(
        "check", "--pre", "-n", namespace, "-o", "json", TULLE_NAMESPACE=namespace
    )
    powerless = await outsider.quickly("check", "--pre", "-o", "json", KUBECONFIG=nobody)
    cluster.kubectl("delete", "node", f"old-{namespace}")

    told = trouble(there.stdout)
    assert there.exit_code == 1
    assert "violates PodSecurity" in told["pod-security"]
    assert told["nodes"] == f"old-{namespace} (v1.28.9): expected 1.29 or later"
    assert "Secret tulle-nats without Secret tulle-mesh" in told["in-the-way"]
    assert powerless.exit_code == 1
    assert "you may not create namespaces, " in trouble(powerless.stdout)["rights-to-install"]
    assert "you may not get secrets" in trouble(powerless.stdout)["rights-to-operate"]


def node_info(kubelet: str) -> dict[str, str]:
    names = "machineID systemUUID bootID kernelVersion osImage containerRuntimeVersion architecture"
    return {
        **dict.fromkeys(names.split(), "none"),
        "kubeletVersion": kubelet,
        "kubeProxyVersion": "",
        "operatingSystem": "linux",
    }


@pytest.fixture
async def mesh(cluster: Cluster, namespace: str, tmp_path: Path) -> AsyncIterator[Mesh]:
    """A control plane as it lies in a cluster, made by hand; of what runs, identity is the real one."""
    webhook = make([f"tulle-injector.{namespace}.svc"], SystemClock.now())
    cluster.apply(
        *(yaml.safe_load_all((FOLDER / "10-meshsettings.yaml").read_text())),
        workload("StatefulSet", "tulle-nats", namespace),
        *(workload("Deployment", f"tulle-{name}", namespace) for name in DEPLOYMENTS),
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "tulle-injector-tls", "namespace": namespace},
            "data": {"tls.crt": base64.b64encode(webhook.certificate).decode()},
        },
        injecting(namespace, webhook.bundle),
    )
    async with nats(tmp_path) as mesh, mesh.identity(), AsyncExitStack() as stack:
        await stack.enter_async_context(labelling(cluster, labels(namespace), tmp_path))
        await put_keys(cluster, namespace, mesh)
        buses = [
            await stack.enter_async_context(mesh.role(role))
            for role in ("destination", "injector", "telemetry")
        ]
        await stack.enter_async_context(_serving(buses))
        yield mesh
    cluster.kubectl("delete", "mutatingwebhookconfiguration", namespace)


def labels(namespace: str) -> str:
    """Whose injector takes no pod but what `tulle check` only tries."""
    return f"{namespace}-labels"


class _serving:
    """Services that do no more than say that they are there, and lead."""

    def __init__(self, buses: list[Bus]) -> None:
        self._buses = buses
        self._group = anyio.create_task_group()

    async def __aenter__(self) -> None:
        await self._group.__aenter__()
        roles: tuple[Role, ...] = ("destination", "injector", "telemetry")
        for role, bus in zip(roles, self._buses, strict=True):
            await bus.serve(role, VERSION, (), queue=role)
            if role != "telemetry":
                self._group.start_soon(Lease(bus, role, "test").run, anyio.sleep_forever)

    async def __aexit__(self, *_: object) -> None:
        self._group.cancel_scope.cancel()
        await self._group.__aexit__(None, None, None)


def injecting(namespace: str, bundle: bytes) -> dict[str, Any]:
    """What has the API server call the injector of that namespace, for no pod at all."""
    service = {"name": "tulle-injector", "namespace": namespace}
    nowhere = {"matchLabels": {"injected": "never"}}
    return configuration(namespace, {"service": service}, bundle, namespaceSelector=nowhere)


async def test_the_control_plane_is_looked_at_and_what_is_wrong_is_told(
    cluster: Cluster, namespace: str, mesh: Mesh, tmp_path: Path
) -> None:
    operator = Operator(cluster, namespace, mesh, tmp_path)

    well = await operator.tulle("check", "--wait", "30s", "-o", "json")
    versions = await operator.tulle("version", "-o", "json")
    cluster.apply(
        workload("Deployment", "tulle-destination", namespace, ready=0),
        injecting(namespace, make(["other"], SystemClock.now()).bundle),
        pod_that_waits(namespace),
    )
    cluster.kubectl("delete", "secret", "tulle-bus-telemetry", "-n", namespace)
    cluster.kubectl("delete", "mutatingwebhookconfiguration", labels(namespace))
    broken = await operator.tulle("check", "-o", "json")
    short = await operator.tulle("check", "-o", "short")

    assert (well.returncode, trouble(well.stdout)) == (0, {}), well.stderr
    running = {row["name"]: row["replicas"] for row in json.loads(versions.stdout)["services"]}
    assert running == dict.fromkeys(DEPLOYMENTS, 1)
    assert (broken.returncode, short.returncode) == (1, 1)
    assert trouble(broken.stdout) == {
        "keys": "not there: Secret tulle-bus-telemetry",
        "ready": "tulle-destination: 0/1 ready; pod tulle-destination-1, container main: "
        "ImagePullBackOff: no such image",
        "webhook-bundle": "injector.tulle.dev: caBundle is another",
        "webhook-reached": "a pod in namespace default that asks for a proxy would get none",
    }
    assert "√" not in short.stdout
    assert "docs/checks.md#ready" in short.stdout


def pod_that_waits(namespace: str) -> dict[str, Any]:
    waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
    container = {"name": "main", "image": "none", "imageID": "", "restartCount": 0, "ready": False}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "tulle-destination-1", "namespace": namespace},
        "spec": {"containers": [{"name": "main", "image": "none"}]},
        "status": {"containerStatuses": [{**container, "state": {"waiting": waiting}}]},
    }


def pod(
    namespace: str, name: str, *, meshed: bool, ready: bool = True, **spec: Any
) -> dict[str, Any]:
    """A pod as the injector leaves it, as far as a check looks, or as it was before."""
    proxy = {"name": "tulle-proxy", "image": "none", "restartPolicy": "Always"}
    first = [{"name": "tulle-redirect", "image": "none"}, proxy] if meshed else []
    status = {"name": "tulle-proxy", "image": "none", "imageID": "", "restartCount": 0}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"tulle.dev/meshed": "true"} if meshed else {"app": name},
        },
        "spec": {"initContainers": first, "containers": [{"name": "web", "image": "none"}], **spec},
        "status": {"initContainerStatuses": [{**status, "ready": ready}] if meshed else []},
    }


async def test_the_proxies_of_a_namespace_are_looked_at_and_what_is_wrong_is_told(
    cluster: Cluster, namespace: str, mesh: Mesh, tmp_path: Path
) -> None:
    operator = Operator(cluster, namespace, mesh, tmp_path)
    shop = f"shop-{namespace}"
    cluster.kubectl("create", "namespace", shop)
    cluster.kubectl("annotate", "namespace", shop, "tulle.dev/inject=enabled")
    cluster.apply(pod(shop, "web-1", meshed=True))
    web = WorkloadName(shop, "web-1")
    async with (
        mesh.workload_bus(web, mesh.token(web, "web")) as proxy,
        mesh.role("destination") as destination,
    ):
        with anyio.fail_after(15):
            await proxy.wait_connected()
        revision = await destination.put(subjects.settings(), Settings(), expected=0)
        said, ahead = ack(mesh, web, revision), 0.0

        async def is_heard() -> bool:
            done = await operator.quickly("--bus", mesh.server.url, "identity", "web-1")
            return done.exit_code == 0

        async def say_it() -> None:
            while True:
                now = SystemClock.now() + ahead
                await proxy.publish(subjects.ack(web), msgspec.structs.replace(said, time=now))
                await anyio.sleep(0.2)

        async with anyio.create_task_group() as group:
            group.start_soon(say_it)
            await until_told(is_heard, 20)
            well = await operator.tulle("check", "--proxy", "-o", "json")
            cluster.apply(
                pod(shop, "late-1", meshed=False),
                pod(shop, "host-1", meshed=False, hostNetwork=True),
                pod(shop, "sick-1", meshed=True, ready=False),
            )
            books = ServiceName(shop, "books")
            places = tuple(
                Endpoint(address=f"10.1.1.{n}", ports={"": 5432}, opaque_ports=(5432,) * (n % 2))
                for n in range(1, 4)
            )
            part = EndpointSlice(namespace=shop, service="books", name="a", endpoints=places)
            await destination.put(subjects.endpoints(books, "a"), part, expected=0)
            said, ahead = ack(mesh, web, revision - 1, version="0.0.9", ends_in=-60.0), 9.0
            await until_told(is_heard, 20)
            wrong = await operator.tulle("check", "--proxy", "-n", shop, "-o", "json")
            group.cancel_scope.cancel()

    assert (well.returncode, trouble(well.stdout)) == (0, {}), well.stderr
    assert "1 pod, meshed" in well.stdout
    assert wrong.returncode == 1
    assert trouble(wrong.stdout) == {
        "injected": "without a proxy: late-1",
        "proxies-ready": "not ready: sick-1",
        "proxies-certified": "web-1 (expired), sick-1 (not heard of)",
        "proxies-settings": f"not yet revision {revision}: web-1",
        "opaque-ports": "opaque for some pods and not for others: books:5432",
        "proxies-version": "another than the control plane's: web-1 (0.0.9)",
        "proxies-clocks": "web-1 (+9 s)",
    }


def ack(
    mesh: Mesh,
    name: WorkloadName,
    settings: int,
    version: str = VERSION,
    ends_in: float = 3600.0,
) -> Ack:
    now = SystemClock.now()
    pairs = (mesh.directory.issuer(), mesh.directory.anchor())
    leaf = ShownLeaf(
        serial="ab" * 20,
        identity=f"spiffe://cluster.local/ns/{name.namespace}/sa/web",
        not_after=now + ends_in,
        signed_by=tuple(key_id(pair.certificate) for pair in pairs),
    )
    revisions = {subjects.settings().subject: settings, subjects.trust().subject: 10**15}
    return Ack(
        namespace=name.namespace,
        workload=name.name,
        uid="",
        revisions=revisions,
        time=now,
        leaf=leaf,
        version=version,
    )
