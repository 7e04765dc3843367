"""`python -m benchmarks.cluster`: destination in a large cluster, on a real API server (see `make envtest`).

How long it takes from its start until everything is published, what memory that costs, and how long from a
change of an EndpointSlice until each of a thousand followers has it: all of one service, with the proxy's own
followers and with bare sockets, and each of a service of its own.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import msgspec

from benchmarks import machine
from benchmarks.accounting import cpu_seconds, peak_mb
from benchmarks.asking import get
from benchmarks.followers import Crowd, Way
from benchmarks.heard import Heard, Outcome, Round, table
from common import log
from common.bus import Bus
from common.bus.streams import ensure
from common.clock import SystemClock
from common.kube.access import KubeConfig
from common.kube.client import Client
from common.nats_server import NatsServer, free_port
from services.destination.app import Destination
from services.destination.sources.kubernetes import Kubernetes
from tests.support.cluster import HOW, Cluster, assets
from tests.support.objects import live_pod, live_slice, service

PATIENCE_SECONDS = 120.0
PAGES = machine.ROOT / "docs" / "benchmarks"
PADDING = {"example.com/padding": "x" * 6000}
"""Pods in clusters are large; most of it is nothing to the mesh."""
_MADE = "2026-01-01T00:00:00Z"
_LOOK_SECONDS = 0.02


class Effort(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured of changes."""

    rounds: int = 3
    changes: int = 30
    """In each round, if all followers hear of each change; four times as many if one does."""
    settle: float = 3.0
    """Seconds to wait in each round: after they have come, followers look once more."""


async def measure(
    services: int, each: int, followers: int, cluster: Cluster, effort: Effort
) -> Outcome:
    """So many services with `each` so many endpoints; so many followers."""
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
            hearing = Hearing(server.url, cluster, each, followers, effort)
            ways: dict[str, tuple[Way, int]] = {
                f"{followers} of one service": ("tulle", 1),
                f"{followers} bare sockets, of one service": ("bare", 1),
                f"{followers} of a service each": ("tulle", services),
            }
            heard = [
                [await hearing.round(*way) for _ in range(effort.rounds)] for way in ways.values()
            ]
    return Outcome(
        services=services,
        endpoints=services * each,
        start_seconds=start,
        start_cpu=cpu,
        peak_mb=peak,
        again_seconds=again,
        heard=tuple(
            Heard(
                who=who,
                cpu_us=statistics.median(cpu for _, cpu in found) if ways[who][1] == 1 else None,
                rounds=tuple(one for one, _ in found),
            )
            for who, found in zip(ways, heard, strict=True)
        ),
    )


class Hearing:
    """Changes of slices, and who hears of them when."""

    def __init__(
        self, url: str, cluster: Cluster, each: int, followers: int, effort: Effort
    ) -> None:
        self._url = url
        self._cluster = cluster
        self._each = each
        self._followers = followers
        self._effort = effort
        self._ready: defaultdict[int, bool] = defaultdict(lambda: True)

    async def round(self, way: Way, spread: int) -> tuple[Round, float]:
        """Changes of `spread` services in turn; and microseconds of CPU for each that was heard."""
        times, (load, _, _) = list[float](), os.getloadavg()
        changes = self._effort.changes * (1 if spread == 1 else 4)
        crowd = Crowd(way, self._url, self._followers, spread)
        async with crowd.gathered():
            await anyio.sleep(self._effort.settle)
            cpu = crowd.cpu_seconds()
            for turn in range(changes):
                number = turn % min(spread, self._followers)
                changed = self._change(number)
                with anyio.fail_after(PATIENCE_SECONDS):
                    times += [heard - changed for heard in await crowd.heard(number)]
            cpu = crowd.cpu_seconds() - cpu
        times.sort()
        found = Round(
            load=load,
            p50=times[len(times) // 2],
            p99=times[len(times) * 99 // 100],
            worst=times[-1],
        )
        return found, cpu / len(times) * 1e6

    def _change(self, number: int) -> float:
        """Change the endpoints of a service; when that began."""
        self._ready[number] = ready = not self._ready[number]
        name, places = f"web-{number}", _places(number, self._each)
        item = live_slice("shop", f"{name}-x", places, service=name, ready=ready, stored=True)
        began = SystemClock().monotonic()
        self._cluster.store({f"endpointslices/shop/{name}-x": item})
        return began


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


async def _serve(url: str, admin: str, kubeconfig: str) -> None:
    """Be destination, until killed."""
    async with Bus([url], name="destination") as bus:
        source = partial(Kubernetes, Client(KubeConfig(Path(kubeconfig))))
        running = Destination(bus, source, replica="bench", lease_seconds=2)
        async with running.admin(admin):
            await running.run()


def write(outcome: Outcome, page: Path) -> None:
    """Write the page of the last recorded run anew."""
    taken = f"Taken on {machine.told()}."
    page.write_text(f"# The last recorded run in a large cluster\n\n{table(outcome)}\n\n{taken}\n")


def main() -> int:
    """Run with the command line's arguments; exit status 1 if there is no API server."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cluster", description="Destination in a large cluster."
    )
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--endpoints", type=int, default=10, help="of each service (default: 10)")
    parser.add_argument("--followers", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3, help="of changes (default: 3)")
    parser.add_argument(
        "--write", action="store_true", help="write docs/benchmarks/cluster.md, too"
    )
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
        effort = Effort(rounds=flags.rounds)
        sizes = (flags.services, flags.endpoints, flags.followers)
        outcome = anyio.run(measure, *sizes, cluster, effort, backend_options=uvloop)
    finally:
        cluster.close()
    print(json.dumps(msgspec.to_builtins(outcome), indent=1) if flags.json else table(outcome))
    if flags.write:
        write(outcome, PAGES / "cluster.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
