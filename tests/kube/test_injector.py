"""The injector behind a real API server: pods that are created, with the rights of its own account alone."""

import json
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml

from common.bus import Bus
from common.clock import SystemClock
from common.contract import subjects
from common.contract.events import Event
from common.nats_server import free_port
from services.injector.app import Injector
from services.injector.decide import REASONS
from services.injector.keeper import Keeper, Place
from services.injector.manifests import inject_text
from tests.support.cluster import APART, Cluster
from tests.support.injector import RIGHTS
from tests.support.nats import mesh, until, until_told
from tests.support.pods import MESH, a_pod, container

pytestmark = pytest.mark.anyio


class World:
    """A running injector, and namespaces that it watches over."""

    def __init__(self, cluster: Cluster, bus: Bus, injector: Injector, keeper: Keeper, ns: str):
        self.cluster = cluster
        self.bus = bus
        self.injector = injector
        self.keeper = keeper
        self.ns = ns

    async def kubectl(self, *args: str, stdin: str = "") -> str:
        return await anyio.to_thread.run_sync(lambda: self.cluster.kubectl(*args, stdin=stdin))

    async def namespace(self, name: str, **annotations: str) -> str:
        metadata = {"name": f"{self.ns}-{name}", "labels": {"of": self.ns, APART: "disabled"}}
        text = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {**metadata, "annotations": annotations},
        }
        await self.kubectl("apply", "-f", "-", stdin=json.dumps(text))
        return f"{self.ns}-{name}"

    async def create(self, where: str, pod: dict[str, Any]) -> dict[str, Any]:
        """The pod as the API server took it."""
        pod = {**pod, "metadata": {**pod["metadata"], "namespace": where}}
        made: dict[str, Any] = json.loads(
            await self.kubectl("create", "-o", "json", "-f", "-", stdin=json.dumps(pod))
        )
        return made


@asynccontextmanager
async def injecting(cluster: Cluster, ns: str) -> AsyncIterator[World]:
    port = free_port()
    cluster.kubectl("apply", "-f", "-", stdin=RIGHTS % {"ns": ns, "port": port})
    token = cluster.kubectl("create", "token", "injector", "-n", ns).strip()
    place = Place(namespace=ns, secret="tls", configuration=ns, hosts=("localhost",))
    async with (
        mesh() as (_, bus),
        cluster.client(token) as client,
        anyio.create_task_group() as group,
    ):
        injector = Injector(
            bus, client, place, listen=f"127.0.0.1:{port}", mesh=lambda: MESH, replica="a"
        )
        group.start_soon(injector.run)
        await until(lambda: injector.serving and injector.namespaces.loaded, 30)
        yield World(cluster, bus, injector, Keeper(client, place, SystemClock()), ns)
        group.cancel_scope.cancel()


def names(pod: dict[str, Any]) -> list[str]:
    spec = pod["spec"]
    return [one["name"] for one in [*spec.get("initContainers", []), *spec["containers"]]]


async def test_a_pod_that_is_created_in_an_enabled_namespace_gets_its_proxy(
    cluster: Cluster, namespace: str
) -> None:
    async with injecting(cluster, namespace) as world:
        inject = {"tulle.dev/inject": "enabled", "config.tulle.dev/proxy-log-level": "debug"}
        where = await world.namespace("on", **inject)

        pod = await world.create(where, a_pod(initContainers=[{"name": "own", "image": "x"}]))

        assert names(pod) == ["tulle-redirect", "tulle-proxy", "own", "web"]
        assert pod["metadata"]["labels"] == {"tulle.dev/meshed": "true"}
        assert pod["metadata"]["annotations"]["config.tulle.dev/proxy-log-level"] == "debug"
        proxy = container(pod, "tulle-proxy")
        assert {"name": "TULLE_LOG_LEVEL", "value": "debug"} in proxy["env"]
        assert proxy["restartPolicy"] == "Always"


async def test_classic_sidecars_and_every_option_are_pods_that_kubernetes_takes(
    cluster: Cluster, namespace: str
) -> None:
    asked = {
        "proxy-enable-native-sidecar": "false",
        "proxy-wait-before-exit-seconds": "5",
        "proxy-cpu-request": "1",
        "proxy-cpu-limit": "500m",
        "proxy-memory-limit": "64Mi",
        "proxy-ephemeral-storage-limit": "1G",
        "proxy-gid": "3000",
        "inbound-port": "nonsense",
        "image-pull-policy": "sometimes",
        "proxy-additional-env": '[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]',
    }
    notes = {f"config.tulle.dev/{name}": text for name, text in asked.items()}
    async with injecting(cluster, namespace) as world:
        where = await world.namespace("on")

        pod = await world.create(where, a_pod(notes | {"tulle.dev/inject": "enabled"}))

        assert names(pod) == ["tulle-redirect", "tulle-proxy", "web"]
        resources = container(pod, "tulle-proxy")["resources"]
        assert resources["requests"]["cpu"] == resources["limits"]["cpu"] == "500m"
        assert "config.tulle.dev/inbound-port" not in pod["metadata"]["annotations"]


async def test_every_reason_not_to_inject_is_counted_and_what_people_wanted_is_told(
    cluster: Cluster, namespace: str
) -> None:
    heard: list[Event] = []

    def hear(_subject: str, event: Event) -> None:
        heard.append(event)

    async with injecting(cluster, namespace) as world:
        await world.bus.listen(subjects.event("injector", "skipped"), hear)
        plain = await world.namespace("plain")
        strange = await world.namespace("strange", **{"tulle.dev/inject": "ingress"})
        on = {"tulle.dev/inject": "enabled"}
        pods = {
            "injection_enable_annotation_absent": (plain, a_pod()),
            "injection_disable_annotation_present": (
                plain,
                a_pod({"tulle.dev/inject": "disabled"}),
            ),
            "invalid_inject_annotation_at_workload": (plain, a_pod({"tulle.dev/inject": "yes"})),
            "invalid_inject_annotation_at_ns": (strange, a_pod()),
            "host_network_enabled": (plain, a_pod(on, hostNetwork=True)),
            "sidecar_already_exists": (
                plain,
                a_pod(on, initContainers=[{"name": "istio-init", "image": "x"}]),
            ),
        }
        # The API server lets no pod without containers come as far as this.
        assert {*pods, "unsupported_resource"} == {*REASONS}
        for number, (reason, (where, pod)) in enumerate(pods.items()):
            pod["metadata"]["name"] = f"pod-{number}"
            pod["spec"]["containers"][0].pop("ports")
            made = await world.create(where, pod)
            assert "tulle-proxy" not in names(made), reason

        counted = {labels[4] for labels in world.injector.journal.responses}
        assert counted == set(pods)
        await until(lambda: len(heard) == 4)
        assert [event.fields["reason"] for event in heard] == list(pods)[2:]


async def test_who_applies_a_pod_is_warned_and_its_owner_gets_an_event(
    cluster: Cluster, namespace: str
) -> None:
    async with injecting(cluster, namespace) as world:
        where = await world.namespace("on", **{"tulle.dev/inject": "enabled"})
        template = {"metadata": {"labels": {"a": "b"}}, "spec": a_pod()["spec"]}
        owner = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {"name": "web-7d9f", "namespace": where},
            "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template},
        }
        made = json.loads(
            await world.kubectl("create", "-o", "json", "-f", "-", stdin=json.dumps(owner))
        )
        pod = a_pod({"config.tulle.dev/inbound-port": "x"})
        pod["metadata"] |= {
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "ReplicaSet",
                    "name": "web-7d9f",
                    "uid": made["metadata"]["uid"],
                    "controller": True,
                }
            ],
            "namespace": where,
        }

        # Nobody hears of what was not done.
        await world.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))
        program = (str(cluster.programs / "kubectl"), f"--kubeconfig={cluster.kubeconfig}")
        done = await anyio.run_process(
            [*program, "create", "-f", "-"],
            input=json.dumps(pod).encode(),
        )

        assert b"Warning: tulle: config.tulle.dev/inbound-port: 'x': expected a port" in done.stderr

        async def events() -> list[Any]:
            text = await world.kubectl("get", "events", "-n", where, "-o", "json")
            found: list[Any] = json.loads(text)["items"]
            return found

        await until_told(events)
        (event,) = await events()
        assert event["reason"] == "Injected"
        assert event["involvedObject"]["uid"] == made["metadata"]["uid"]
        assert "config.tulle.dev/inbound-port" in event["message"]


async def test_the_certificate_is_replaced_without_a_pod_being_refused(
    cluster: Cluster, namespace: str
) -> None:
    async with injecting(cluster, namespace) as world:
        where = await world.namespace("on", **{"tulle.dev/inject": "enabled"})
        first, held = await world.keeper.look()
        assert first is not None

        await world.keeper.renew(first, held)
        second, _ = await world.keeper.look()

        assert second is not None
        assert second.previous == first.certificate != second.certificate
        number = 0
        while not await shows(world, second.certificate):
            pod = a_pod()
            pod["metadata"]["name"] = f"pod-{number}"
            number += 1
            assert "tulle-proxy" in names(await world.create(where, pod))
        assert "tulle-proxy" in names(await world.create(where, a_pod()))


async def shows(world: World, certificate: bytes) -> bool:
    port = world.injector.webhook.port
    shown = await anyio.to_thread.run_sync(ssl.get_server_certificate, ("127.0.0.1", port))
    return shown.strip() == certificate.decode().strip()


async def test_a_bundle_that_somebody_took_away_is_put_back(
    cluster: Cluster, namespace: str
) -> None:
    async with injecting(cluster, namespace) as world:
        path = "/webhooks/0/clientConfig/caBundle"
        patch = json.dumps([{"op": "remove", "path": path}])
        kind = "mutatingwebhookconfiguration"
        await world.kubectl("patch", kind, namespace, "--type=json", "-p", patch)

        await world.keeper.tidy()

        where = await world.namespace("on", **{"tulle.dev/inject": "enabled"})
        assert "tulle-proxy" in names(await world.create(where, a_pod()))


@pytest.mark.parametrize("native", ["true", "false"])
async def test_what_is_injected_offline_is_taken_and_not_injected_again(
    cluster: Cluster, namespace: str, native: str, tmp_path: Path
) -> None:
    notes = {"config.tulle.dev/proxy-enable-native-sidecar": native}
    text, _ = inject_text(yaml.safe_dump(a_pod(notes)), MESH)
    async with injecting(cluster, namespace) as world:
        where = await world.namespace("on", **{"tulle.dev/inject": "enabled"})

        pod = await world.create(where, yaml.safe_load(text))

        assert names(pod).count("tulle-proxy") == 1
        ((labels, count),) = world.injector.journal.responses.items()
        assert (labels[4], count) == ("sidecar_already_exists", 1)


async def test_without_the_injector_the_api_server_does_what_the_policy_says(
    cluster: Cluster, namespace: str
) -> None:
    async with injecting(cluster, namespace) as world:
        where = await world.namespace("on", **{"tulle.dev/inject": "enabled"})
    with pytest.raises(subprocess.CalledProcessError) as refused:
        await world.create(where, a_pod())

    assert "injector.tulle.dev" in refused.value.stderr
