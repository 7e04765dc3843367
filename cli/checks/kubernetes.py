"""The Kubernetes API: it answers, and is new enough."""

import re

import msgspec

from cli.checks.context import Context
from cli.checks.frame import Check, Group, Wrong

OLDEST = (1, 29)
"""Native sidecars, on by default."""


class _Version(msgspec.Struct, frozen=True, rename="camel"):
    git_version: str = ""


def numbers(version: str) -> tuple[int, int]:
    """`v1.29.3-gke.1` → (1, 29); raises Wrong."""
    match = re.match(r"v?(\d{1,4})\.(\d{1,4})", version)
    if match is None:
        raise Wrong(f"version {version!r}: expected one such as v1.29.0")
    return int(match[1]), int(match[2])


async def _answers(context: Context) -> str:
    """`GET /version` of the cluster that the kubeconfig's context names."""
    await (await context.kube()).get("/version", _Version)
    return str(context.cluster)


async def _new_enough(context: Context) -> str:
    """The same answer: proxies are native sidecars, which came with Kubernetes 1.29."""
    found = await (await context.kube()).get("/version", _Version)
    version = found.git_version if found else ""
    if numbers(version) < OLDEST:
        raise Wrong(f"{version}; expected 1.29 or later")
    return version


KUBERNETES = Group(
    "kubernetes",
    (
        Check(
            "the Kubernetes API answers",
            _answers,
            "try kubectl version with the same context; tulle --context and --kubeconfig name another",
            "kubernetes-api",
            vital=True,
        ),
        Check(
            "it is Kubernetes 1.29 or later",
            _new_enough,
            'update the cluster; before that, config.tulle.dev/proxy-enable-native-sidecar: "false" helps some',
            "kubernetes-version",
        ),
    ),
)
