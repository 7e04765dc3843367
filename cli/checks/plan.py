"""Which groups of checks are gone through: before installing, of the control plane, of proxies."""

from collections.abc import AsyncIterator
from typing import Literal

from cli.checks.before import BEFORE
from cli.checks.bus import BUS
from cli.checks.context import Context
from cli.checks.directory import DIRECTORY
from cli.checks.frame import Check, Doubtful, Finding, Group, findings
from cli.checks.identity import IDENTITY
from cli.checks.injection import INJECTION
from cli.checks.installed import INSTALLED
from cli.checks.kubernetes import KUBERNETES
from cli.checks.proxies import namespaces, proxies
from cli.checks.services import SERVICES


async def _some_namespace(_context: Context) -> str:
    """Whether any namespace is annotated, has meshed pods in it, or was heard of."""
    raise Doubtful("none is")


NONE = Group(
    "proxies",
    (
        Check(
            "some namespace is meshed",
            _some_namespace,
            "kubectl annotate namespace NS tulle.dev/inject=enabled, then restart its pods",
            "no-namespace",
        ),
    ),
)
Subject = Literal["pre", "mesh", "proxy"]

OF_DIRECTORY = (DIRECTORY, BUS, SERVICES, IDENTITY)
OF_CLUSTER = (KUBERNETES, INSTALLED, BUS, SERVICES, IDENTITY, INJECTION)
BEFOREHAND = (KUBERNETES, BEFORE)
# In these orders: what comes later needs what comes before.
EVERYTHING = (
    *(DIRECTORY, KUBERNETES, BEFORE, INSTALLED, BUS, SERVICES, IDENTITY, INJECTION),
    NONE,
    proxies("NAMESPACE", in_cluster=True),
)
"""Each once, as the page about them shows them."""


async def gone_through(
    subject: Subject, context: Context, patience: float
) -> AsyncIterator[Finding]:
    """What is found, in order. Raises what listing namespaces raises, after the bus was well."""
    clustered = context.way.cluster is not None
    if subject == "pre":
        groups: tuple[Group, ...] = BEFOREHAND
    elif subject == "mesh":
        groups = OF_CLUSTER if context.way.directory is None else OF_DIRECTORY
    else:
        groups = (KUBERNETES, BUS) if clustered else (BUS,)
    clock = context.clock
    until = clock.monotonic() + patience
    failed = False
    async for found in findings(groups, context, patience=patience):
        yield found
        failed |= found.result == "failure"
    if subject != "proxy" or failed:
        return
    of = [proxies(one, in_cluster=clustered) for one in await namespaces(context)]
    async for found in findings(of or [NONE], context, patience=until - clock.monotonic()):
        yield found
