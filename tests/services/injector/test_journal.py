"""What becomes of pods is counted and told, on the bus and to the cluster, and keeps nobody waiting."""

import anyio
import pytest

from common.clock import ManualClock
from common.contract import subjects
from common.contract.events import Event
from common.kube.client import Client
from services.injector.decide import Verdict
from services.injector.inject import Injection
from services.injector.journal import Journal, Told
from services.injector.review import Owner
from tests.support.kube_api import kube_api
from tests.support.nats import mesh, until

pytestmark = pytest.mark.anyio

OWNER = Owner(api_version="apps/v1", kind="ReplicaSet", name="web-7d9f", uid="u", namespace="shop")


def told(verdict: Verdict, owner: Owner | None = OWNER, *, dry_run: bool = False) -> Told:
    result = Injection(verdict=verdict, warnings=("mind the gap",))
    return Told(namespace="shop", pod="web-1", owner=owner, result=result, dry_run=dry_run)


async def test_the_bus_hears_what_people_want_to_know_and_the_owner_gets_an_event() -> None:
    heard: list[Event] = []

    def hear(_subject: str, event: Event) -> None:
        heard.append(event)

    async with (
        mesh() as (_, bus),
        kube_api() as (api, access),
        Client(access) as client,
        anyio.create_task_group() as group,
    ):
        journal = Journal(bus, client, ManualClock())
        await bus.listen(subjects.event("injector", "injected"), hear)
        await bus.listen(subjects.event("injector", "skipped"), hear)
        group.start_soon(journal.run)

        journal.note(told(Verdict(annotation_at="namespace")))
        journal.note(told(Verdict(), dry_run=True))
        journal.note(told(Verdict(skip="injection_enable_annotation_absent")))
        journal.note(told(Verdict(skip="sidecar_already_exists", ours=True)))
        # An answer that is a refusal keeps nothing else from being told.
        api.refusals.append((403, {"reason": "Forbidden"}))
        journal.note(told(Verdict(skip="host_network_enabled"), None))

        await until(lambda: len(heard) == 2)
        group.cancel_scope.cancel()

    first, second = heard
    assert first.fields == {
        "namespace": "shop",
        "pod": "web-1",
        "owner": "replicaset/web-7d9f",
        "warnings": "mind the gap",
    }
    assert second.fields["reason"] == "host_network_enabled"
    posts = [request["path"] for request in api.requests]
    assert posts == ["/api/v1/namespaces/shop/events"]
    assert sum(journal.responses.values()) == 5
    assert journal.responses["replicaset", "shop", "namespace", "false", ""] == 1


async def test_what_does_not_fit_in_line_is_counted_and_left_out() -> None:
    async with mesh() as (_, bus), kube_api() as (_, access), Client(access) as client:
        journal = Journal(bus, client, ManualClock())
        for _ in range(1001):
            journal.note(told(Verdict()))

        assert journal.left_out == 1
        journal.close()
