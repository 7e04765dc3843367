"""How the Kubernetes API is reached: a pod's own account, read afresh, or a kubeconfig."""

import ssl
from pathlib import Path

import pytest
import yaml

from common.clock import ManualClock
from common.errors import InvalidSettings, KubernetesRefused, KubernetesUnavailable
from common.kube.access import RELOAD, InCluster, KubeConfig
from common.kube.client import Client, Status
from tests.support.kube_api import kube_api
from tests.support.pki import Pki

pytestmark = pytest.mark.anyio
ENV = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}


def account(folder: Path) -> Path:
    (folder / "ca.crt").write_text(Pki().anchors_pem)
    (folder / "token").write_text("one\n")
    return folder


async def test_a_pods_account_is_read_afresh_each_time(tmp_path: Path) -> None:
    access = InCluster(account(tmp_path), ENV)
    context = await access.tls()

    assert await access.server() == "https://10.96.0.1:443"
    assert await access.authorization() == "Bearer one"
    assert await access.tls() is context

    (tmp_path / "token").write_text("two")
    (tmp_path / "ca.crt").write_text(Pki().anchors_pem)

    assert await access.authorization() == "Bearer two"
    renewed = await access.tls()
    assert renewed is not context
    assert renewed.verify_mode == ssl.CERT_REQUIRED
    assert renewed.check_hostname


async def test_an_address_of_ipv6_is_put_in_brackets(tmp_path: Path) -> None:
    access = InCluster(tmp_path, {**ENV, "KUBERNETES_SERVICE_HOST": "fd00::1"})

    assert await access.server() == "https://[fd00::1]:443"


async def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="KUBERNETES_SERVICE_HOST"):
        InCluster(tmp_path, {})
    access = InCluster(tmp_path, ENV)
    with pytest.raises(KubernetesUnavailable, match="token"):
        await access.authorization()
    (tmp_path / "ca.crt").write_text("no certificate")
    with pytest.raises(KubernetesUnavailable, match=r"ca\.crt"):
        await access.tls()


def kubeconfig(path: Path, server: str, token: str) -> Path:
    path.write_text(
        yaml.safe_dump(
            {
                "current-context": "main",
                "contexts": [{"name": "main", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": server}}],
                "users": [{"name": "u", "user": {"token": token}}],
            }
        )
    )
    return path


async def test_a_kubeconfig_is_read_and_read_again_after_a_while(tmp_path: Path) -> None:
    clock = ManualClock()
    path = kubeconfig(tmp_path / "config", "https://api.test:6443", "one")
    access = KubeConfig(path, clock=clock)
    assert await access.server() == "https://api.test:6443"
    assert await access.authorization() == "Bearer one"

    kubeconfig(path, "https://api.test:6443", "two")
    assert await access.authorization() == "Bearer one"
    clock.advance(RELOAD + 1)
    assert await access.authorization() == "Bearer two"


async def test_a_kubeconfig_that_is_none_is_told_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("a: b")

    for path in (tmp_path / "absent", tmp_path / "config"):
        with pytest.raises(KubernetesUnavailable, match=path.name):
            await KubeConfig(path).server()


async def test_a_refusal_says_what_and_why_and_a_busy_api_when_to_come_back() -> None:
    async with kube_api() as (api, access), Client(access) as client:
        api.refusals.append((409, {"reason": "Conflict", "message": "it is newer"}))
        with pytest.raises(KubernetesRefused, match="it is newer") as refused:
            await client.call("POST", "/api/v1/namespaces/shop/events", Status, body={"a": 1})
        assert (refused.value.status, refused.value.cause) == (409, "Conflict")
        api.refusals.append((429, {"details": {"retryAfterSeconds": 7}}))
        with pytest.raises(KubernetesUnavailable) as busy:
            await client.ask("GET", "/api/v1/pods")
        assert busy.value.retry_after == 7


async def test_an_api_that_is_not_there_is_unavailable() -> None:
    async with kube_api() as (_, access):
        pass
    async with Client(access) as client:
        with pytest.raises(KubernetesUnavailable, match="GET /version"):
            await client.ask("GET", "/version")
