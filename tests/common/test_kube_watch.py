"""Following a kind of Kubernetes objects: whatever the API does, what was told is what there is."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import msgspec
import pytest

from common.clock import ManualClock
from common.kube.client import Client
from common.kube.objects import Gone, Kind, Meta, Seen, Unreadable
from common.kube.watch import Event, Watch
from tests.support.kube_api import KubeApi, kube_api
from tests.support.nats import until

pytestmark = pytest.mark.anyio
PODS = "/api/v1/pods"


class Status(msgspec.Struct, frozen=True):
    phase: str = ""


class Pod(msgspec.Struct, frozen=True):
    metadata: Meta
    status: Status = Status()


KIND = Kind(name="Pod", plural="pods", model=Pod)
OPTIONAL = Kind(name="Pod", plural="pods", model=Pod, optional=True)


def pod(name: str, phase: Any = "Running") -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"nodeName": "n1"}, "status": {"phase": phase}}


class Told:
    """What was told, and what there is if one believes it."""

    def __init__(self) -> None:
        self.events: list[Event[Pod]] = []
        self.phases: dict[str, str] = {}

    def __call__(self, events: list[Event[Pod]]) -> None:
        self.events += events
        for event in events:
            match event:
                case Seen(_, found):
                    self.phases[found.metadata.name] = found.status.phase
                case Unreadable(_, _, name, _):
                    self.phases[name] = "?"
                case Gone(_, _, name):
                    self.phases.pop(name, None)


@asynccontextmanager
async def following(
    *names: str, kind: Kind[Pod] = KIND, page: int = 2, clock: ManualClock | None = None
) -> AsyncIterator[tuple[KubeApi, Told, Watch[Pod]]]:
    """A watch of some pods that has listed them."""
    async with kube_api() as (api, access), Client(access) as client:
        for name in names:
            api.put(PODS, pod(name))
        told = Told()
        watch = Watch(client, kind, told, page=page, clock=clock)
        async with anyio.create_task_group() as group:
            group.start_soon(watch.run)
            await watch.state.wait_for(lambda state: state.loaded)
            yield api, told, watch
            group.cancel_scope.cancel()


async def test_what_there_is_comes_page_by_page_and_then_what_changes() -> None:
    async with following("a", "b", "c", "d", "e") as (api, told, watch):
        assert told.phases == dict.fromkeys("abcde", "Running")
        assert [r.get("continue") for r in api.asked(limit="2")] == [None, "2", "4"]

        api.put(PODS, pod("a", "Failed"))
        api.put(PODS, pod("f"))
        api.delete(PODS, "b")

        await until(lambda: told.phases.get("f") and "b" not in told.phases)
        assert told.phases["a"] == "Failed"
        assert watch.stats.lists == 1


async def test_a_watch_that_is_cut_goes_on_where_it_was_and_misses_nothing() -> None:
    async with following("a") as (api, told, watch):
        await until(lambda: api.asked(watch="1"))
        api.up = False
        api.cut()
        api.put(PODS, pod("b"))
        api.delete(PODS, "a")
        await until(lambda: "503" in watch.state.value.trouble)
        assert watch.state.value.loaded

        api.up = True

        await until(lambda: told.phases == {"b": "Running"})
        assert not watch.state.value.trouble
        assert watch.stats.lists == 1


async def test_it_goes_on_from_a_bookmark() -> None:
    async with following("a") as (api, told, watch):
        api.revision = 5000
        api.bookmark(PODS)
        await until(lambda: "5000" in repr(watch))

        api.cut()

        await until(lambda: api.asked(watch="1", resourceVersion="5000"))
        assert len(told.events) == 1


async def test_a_forgotten_revision_lists_again_and_tells_only_what_is_other() -> None:
    async with following("a", "b", "c") as (api, told, watch):
        await until(lambda: api.asked(watch="1"))
        api.up = False
        api.cut()
        await until(lambda: watch.state.value.trouble)
        told.events.clear()
        api.put(PODS, pod("b", "Failed"))
        api.put(PODS, pod("d"))
        api.delete(PODS, "c")
        api.forget()

        api.up = True

        await until(lambda: told.phases == {"a": "Running", "b": "Failed", "d": "Running"})
        assert watch.stats.lists == 2
        assert len(told.events) == 3


async def test_an_error_in_the_middle_of_a_watch_lists_again_after_what_came_before_it() -> None:
    async with following("a") as (api, told, watch):
        await until(lambda: api.asked(watch="1"))
        api.put(PODS, pod("b"))
        api.say(PODS, "ERROR", {"kind": "Status", "code": 410, "reason": "Expired"})
        api.forget()

        await until(lambda: watch.stats.lists == 2 and not watch.state.value.trouble)
        assert told.phases == {"a": "Running", "b": "Running"}
        assert len(told.events) == 2


async def test_a_revision_ahead_of_the_api_lists_again() -> None:
    async with following("a") as (api, told, watch):
        await until(lambda: api.asked(watch="1"))
        causes = {"causes": [{"reason": "ResourceVersionTooLarge"}]}
        api.refusals.append((504, {"reason": "Timeout", "details": causes}))
        api.cut()

        await until(lambda: watch.stats.lists == 2)
        assert told.phases == {"a": "Running"}


async def test_an_api_that_says_nothing_for_long_is_asked_for_everything() -> None:
    clock = ManualClock()
    async with following("a", clock=clock) as (api, told, watch):
        await until(lambda: api.asked(watch="1"))
        api.silent = True
        api.put(PODS, pod("b"))
        api.delete(PODS, "a")
        clock.advance(300)
        api.cut()

        await until(lambda: told.phases == {"b": "Running"})
        assert watch.stats.lists == 2


async def test_a_busy_api_is_left_alone_as_long_as_it_says() -> None:
    async with following("a") as (api, _, watch):
        await until(lambda: api.asked(watch="1"))
        api.refusals.append((429, {"details": {"retryAfterSeconds": 3600}}))
        asked = len(api.requests) + 1
        api.cut()

        await until(lambda: "429" in watch.state.value.trouble)
        assert len(api.requests) == asked


async def test_what_may_not_be_read_is_trouble_that_says_so() -> None:
    async with kube_api() as (api, access), Client(access) as client:
        api.refusals += [(403, {"reason": "Forbidden", "message": "cannot list pods"})] * 1000
        watch = Watch(client, KIND, Told())
        async with anyio.create_task_group() as group:
            group.start_soon(watch.run)
            await until(lambda: "cannot list pods" in watch.state.value.trouble)
            assert not watch.state.value.loaded
            group.cancel_scope.cancel()


async def test_a_kind_that_the_api_does_not_know_has_no_objects_if_it_is_optional() -> None:
    async with following("a", kind=OPTIONAL) as (api, told, watch):
        await until(lambda: api.asked(watch="1"))
        api.unknown.add(PODS)
        api.cut()

        await until(lambda: not told.phases)
        assert watch.state.value.loaded
        assert not watch.state.value.trouble


async def test_an_object_of_another_shape_is_told_with_its_place_and_the_others_are_not_hurt() -> (
    None
):
    async with following("a") as (api, told, _):
        api.put(PODS, pod("odd", phase=[1]))
        api.put(PODS, pod("b"))

        await until(lambda: "b" in told.phases)
        (odd,) = [event for event in told.events if isinstance(event, Unreadable)]
        assert (odd.namespace, odd.name) == ("shop", "odd")
        assert "$.status.phase" in odd.mistake


async def test_a_token_is_shown_as_it_is_at_the_time() -> None:
    async with kube_api() as (api, access), Client(access) as client:
        await client.ask("GET", PODS)
        access.token = "newer"
        await client.ask("GET", PODS)

        assert [r["Authorization"] for r in api.requests] == ["Bearer secret", "Bearer newer"]
