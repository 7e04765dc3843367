"""What namespaces say, as it changes, and before it is known."""

import anyio
import pytest

from common.kube.client import Client
from services.injector.namespaces import Namespaces
from tests.support.kube_api import KubeApi, kube_api
from tests.support.nats import until, until_told

pytestmark = pytest.mark.anyio

PATH = "/api/v1/namespaces"


def put(api: KubeApi, name: str, **annotations: str) -> None:
    api.put(PATH, {"metadata": {"name": name, "namespace": "", "annotations": annotations}})


async def test_annotations_are_followed_and_others_are_not_kept() -> None:
    async with kube_api() as (api, access), Client(access) as client:
        namespaces = Namespaces(client)
        put(api, "shop", **{"tulle.dev/inject": "enabled", "theirs": "x"})
        async with anyio.create_task_group() as group:
            group.start_soon(namespaces.run)
            await until(lambda: namespaces.loaded)
            assert await namespaces.annotations("shop") == {"tulle.dev/inject": "enabled"}

            put(api, "shop", **{"config.tulle.dev/proxy-uid": "3000"})

            async def changed() -> bool:
                return "config.tulle.dev/proxy-uid" in await namespaces.annotations("shop")

            await until_told(changed)
            assert "tulle.dev/inject" not in await namespaces.annotations("shop")
            assert not api.asked(path=f"{PATH}/shop")
            group.cancel_scope.cancel()


async def test_a_namespace_may_be_labelled_instead() -> None:
    async with kube_api() as (api, access), Client(access) as client:
        labelled = {"name": "shop", "namespace": "", "labels": {"tulle.dev/inject": "enabled"}}
        api.put(PATH, {"metadata": labelled})
        namespaces = Namespaces(client)
        async with anyio.create_task_group() as group:
            group.start_soon(namespaces.run)
            await until(lambda: namespaces.loaded)

            assert await namespaces.annotations("shop") == {"tulle.dev/inject": "enabled"}
            group.cancel_scope.cancel()


async def test_one_that_is_not_known_is_asked_for() -> None:
    async with kube_api() as (api, access), Client(access) as client:
        namespaces = Namespaces(client)
        api.unknown.add(f"{PATH}/gone")

        assert await namespaces.annotations("gone") == {}
        assert len(api.asked(path=f"{PATH}/gone")) == 1
