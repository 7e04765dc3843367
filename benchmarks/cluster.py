"""`python -m benchmarks.cluster`: destination in a large cluster, on a real API server (see `make envtest`).

How long it takes from its start until everything is published, what memory that costs, and how long it
takes from a change of an EndpointSlice until each of a thousand followers has heard of it.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import msgspec

from benchmarks.accounting import cpu_seconds, peak_mb
from benchmarks.asking import get
from common import log
from common.bus import Bus
from common.bus.streams import ensure
from common.clock import SystemClock
from common.contract import subjects
from common.contract.discovery import EndpointSlice
from common.kube.access import KubeConfig
from common.kube.client import Client
from common.names import ServiceName
from common.nats_server import NatsServer, free_port
from services.destination.app import Destination
from services.destination.sources.kubernetes import Kubernetes
from tests.support.cluster import HOW, Cluster, assets
from tests.support.objects import live_pod, live_slice, service

CHANGES = 30
PATIENCE_SECONDS = 120.0
SETTLE_SECONDS = 8.0
"""After they have come, followers look once more, and so does destination at all that is published."""
PADDING = {"example.com/padding": "x" * 6000}
"""Pods in clusters are large; most of it is nothing to the mesh."""
_MADE = "2026-01-01T00:00:00Z"
_LOOK_SECONDS = 0.02


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured; times are seconds, memory is in units of 10⁶ bytes."""

    services: int
    endpoints: int
    start_seconds: float
    """From the start of the process until everything is published."""
    start_cpu: float
    peak_mb: float
    again_seconds: float
    """The same for the next process, which finds everything published."""
    followers: int
    heard_p50: float
    heard_p99: float
    """From a change's way to the API until a follower has applied it, over all changes and followers."""


async def measure(services: int, each: int, followers: int, cluster: Cluster) -> Outcome:
    """So many services with `each` so many endpoints; so many followers of one of them."""
    cluster.kubectl("create", "namespace", "shop")
    cluster.store(_objects(services, each))
    # Address, service, slice, and for each endpoint its address and its workload; the settings.
    documents = services * (3 + 2 * each)
    async with NatsServer() as server:
        async with Bus([server.url], name="prepare") as bus:
            await bus.wait_connected()
            await ensure(bus)
        async with _destination(server.url, cluster.kubeconfig, documents) as (seconds, pid):
            start, cpu, peak = seconds, cpu_seconds(pid), peak_mb(pid)
        async with _destination(server.url, cluster.kubeconfig, documents) as (again, _):
            heard = sorted(await _follow(server.url, cluster, each, followers))
    return Outcome(
        services=services,
        endpoints=services * each,
        start_seconds=start,
        start_cpu=cpu,
        peak_mb=peak,
        again_seconds=again,
        followers=followers,
        heard_p50=heard[len(heard) // 2],
        heard_p99=heard[len(heard) * 99 // 100],
    )


def _places(number: int, each: int) -> dict[str, str]:
    return {
        f"web-{number}-{n}": f"10.{100 + number // 250}.{number % 250}.{n + 1}" for n in range(each)
    }


def _objects(services: int, each: int) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for number in range(services):
        one = service(number)
        one["metadata"] |= {"uid": f"uid-{number}", "creationTimestamp": _MADE}
        one["spec"] |= {"type": "ClusterIP", "clusterIPs": [one["spec"]["clusterIP"]]}
        found[f"services/specs/shop/web-{number}"] = one
        places = _places(number, each)
        for name, address in places.items():
            pod = live_pod("shop", name, address, meshed=True, stored=True)
            pod["metadata"]["annotations"] = PADDING
            found[f"pods/shop/{name}"] = pod
        slice_ = live_slice("shop", f"web-{number}-x", places, service=f"web-{number}", stored=True)
        found[f"endpointslices/shop/web-{number}-x"] = slice_
    return found


@asynccontextmanager
async def _destination(
    url: str, kubeconfig: Path, documents: int
) -> AsyncIterator[tuple[float, int]]:
    """A process of its own; how long it took until so many documents were published, and its id."""
    clock, admin = SystemClock(), f"127.0.0.1:{free_port()}"
    began = clock.monotonic()
    command = [sys.executable, "-m", "benchmarks.cluster", "--destination", url, admin]
    process = subprocess.Popen([*command, str(kubeconfig)])  # noqa: ASYNC220 - takes no time
    try:
        with anyio.fail_after(PATIENCE_SECONDS):
            while True:
                if await _published(admin, documents):
                    break
                await anyio.sleep(_LOOK_SECONDS)
        yield clock.monotonic() - began, process.pid
    finally:
        process.terminate()
        process.wait()


async def _published(admin: str, documents: int) -> bool:
    try:
        lines = (await get(admin, "/metrics")).splitlines()
    except OSError:
        return False
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#") and " " in line)
    return (
        float(values.get("tulle_destination_documents", 0)) >= documents
        and float(values.get("tulle_destination_waiting", 1)) == 0
    )


async def _follow(url: str, cluster: Cluster, each: int, followers: int) -> list[float]:
    """Change a slice time and again; how long each follower took to hear of each change."""
    clock, times, changed = SystemClock(), list[float](), 0.0
    seen = 0

    def all_heard() -> bool:
        return seen >= followers

    def hear(document: EndpointSlice | None, _: int) -> None:
        nonlocal seen
        seen += 1
        times.append(clock.monotonic() - changed)

    async with AsyncExitStack() as stack:
        for number in range(followers):
            bus = await stack.enter_async_context(Bus([url], name=f"follower-{number}"))
            bus.follow(subjects.endpoints(ServiceName("shop", "web-0"), "web-0-x"), hear)
        await _until(all_heard)
        await anyio.sleep(SETTLE_SECONDS)
        times.clear()
        for turn in range(CHANGES):
            seen = 0
            item = live_slice(
                "shop",
                "web-0-x",
                _places(0, each),
                service="web-0",
                ready=bool(turn % 2),
                stored=True,
            )
            changed = clock.monotonic()
            cluster.store({"endpointslices/shop/web-0-x": item})
            await _until(all_heard)
    return times


async def _until(condition: Any) -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        while True:
            if condition():
                return
            await anyio.sleep(_LOOK_SECONDS)


async def _serve(url: str, admin: str, kubeconfig: str) -> None:
    """Be destination, until killed."""
    async with Bus([url], name="destination") as bus:
        source = partial(Kubernetes, Client(KubeConfig(Path(kubeconfig))))
        running = Destination(bus, source, replica="bench", lease_seconds=2)
        async with running.admin(admin):
            await running.run()


def table(outcome: Outcome) -> str:
    """What was measured, as Markdown."""
    o = outcome
    return "\n".join(
        [
            "| services | endpoints | all published | CPU | memory, peak | found published | followers"
            " | heard, p50 | p99 |",
            "|---|---|---|---|---|---|---|---|---|",
            f"| {o.services} | {o.endpoints} | {o.start_seconds:.1f} s | {o.start_cpu:.1f} s"
            f" | {o.peak_mb:.0f} MB | {o.again_seconds:.1f} s | {o.followers}"
            f" | {o.heard_p50 * 1000:.0f} ms | {o.heard_p99 * 1000:.0f} ms |",
        ]
    )


def main() -> int:
    """Run with the command line's arguments; exit status 1 if there is no API server."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cluster", description="Destination in a large cluster."
    )
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--endpoints", type=int, default=10, help="of each service (default: 10)")
    parser.add_argument("--followers", type=int, default=1000)
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    parser.add_argument("--destination", nargs=3, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    log.setup("error", "plain")
    uvloop = {"use_uvloop": True}
    if flags.destination:
        anyio.run(_serve, *flags.destination, backend_options=uvloop)
    programs = assets()
    if programs is None:
        print(HOW, file=sys.stderr)
        return 1
    cluster = Cluster(programs)
    try:
        cluster.start()
        sizes = (flags.services, flags.endpoints, flags.followers)
        outcome = anyio.run(measure, *sizes, cluster, backend_options=uvloop)
    finally:
        cluster.close()
    print(json.dumps(msgspec.to_builtins(outcome), indent=1) if flags.json else table(outcome))
    return 0


if __name__ == "__main__":
    sys.exit(main())
