"""Destination in a cluster: with a small one, everything is measured."""

import pytest

from benchmarks.cluster import Outcome, measure, table
from tests.support.cluster import HOW, Cluster, assets

pytestmark = pytest.mark.anyio


async def test_everything_is_measured() -> None:
    programs = assets()
    if programs is None:
        pytest.skip(HOW)
    cluster = Cluster(programs)
    try:
        cluster.start()
        outcome = await measure(3, 2, 4, cluster)
    finally:
        cluster.close()

    assert (outcome.services, outcome.endpoints, outcome.followers) == (3, 6, 4)
    assert 0 < outcome.heard_p50 <= outcome.heard_p99
    assert outcome.start_seconds > 0
    assert outcome.peak_mb > 20


def test_the_table_tells_it_in_units_for_people() -> None:
    outcome = Outcome(
        services=1000,
        endpoints=10_000,
        start_seconds=2.61,
        start_cpu=2.4,
        peak_mb=150.2,
        again_seconds=2.0,
        followers=1000,
        heard_p50=0.05,
        heard_p99=0.0904,
    )

    assert table(outcome).splitlines()[-1] == (
        "| 1000 | 10000 | 2.6 s | 2.4 s | 150 MB | 2.0 s | 1000 | 50 ms | 90 ms |"
    )
