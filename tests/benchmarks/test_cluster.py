"""Destination in a cluster: with a small one, everything is measured."""

from pathlib import Path

import pytest

from benchmarks.cluster import Effort, measure, write
from benchmarks.heard import Heard, Outcome, Round
from tests.support.cluster import HOW, Cluster, assets

pytestmark = pytest.mark.anyio


async def test_everything_is_measured() -> None:
    programs = assets()
    if programs is None:
        pytest.skip(HOW)
    cluster = Cluster(programs)
    try:
        cluster.start()
        outcome = await measure(3, 2, 4, cluster, Effort(rounds=1, changes=2, settle=0))
    finally:
        cluster.close()

    assert (outcome.services, outcome.endpoints) == (3, 6)
    assert outcome.start_seconds > 0
    assert outcome.peak_mb > 20
    assert [heard.who for heard in outcome.heard] == [
        "4 of one service",
        "4 bare sockets, of one service",
        "4 of a service each",
    ]
    for heard in outcome.heard:
        assert (heard.cpu_us is None) == ("each" in heard.who)
        (found,) = heard.rounds
        assert 0 < found.p50 <= found.p99 <= found.worst


def test_the_page_tells_it_in_units_for_people_and_whether_targets_are_met(tmp_path: Path) -> None:
    rounds = tuple(
        Round(load=load, p50=0.05, p99=p99, worst=0.3)
        for load, p99 in ((0.5, 0.0904), (2.25, 0.2), (0.7, 0.0896))
    )
    outcome = Outcome(
        services=1000,
        endpoints=10_000,
        start_seconds=2.61,
        start_cpu=2.4,
        peak_mb=310.2,
        again_seconds=2.0,
        heard=(Heard(who="1000 of one service", cpu_us=65.4, rounds=rounds),),
    )
    write(outcome, tmp_path / "page.md")

    text = (tmp_path / "page.md").read_text()
    assert "| until 10000 endpoints are published | ≤ 10 s: met | 2.6 s |" in text
    assert "| … its memory, peak | ≤ 300 MB: missed | 310 MB |" in text
    assert (
        "| 1000 of one service | 50 ms | 90 ms | 300 ms | 65 µs | 90 ms (0.5), 200 ms (2.2), 90 ms (0.7) |"
    ) in text
    assert "Taken on 20" in text
