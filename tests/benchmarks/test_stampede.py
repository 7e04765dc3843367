"""Many proxies at identity's door: with few of them, everything is measured and nobody fails."""

import pytest

from benchmarks.stampede import Outcome, Phase, measure, table

pytestmark = pytest.mark.anyio


async def test_all_get_what_they_came_for() -> None:
    # That proxies return after NATS was away, tests/mesh shows.
    outcome = await measure(8, returning=False)

    assert [phase.name for phase in outcome.phases] == ["join with a token", "certify"]
    for phase in outcome.phases:
        assert (phase.proxies, phase.failed) == (8, 0)
        assert 0 <= phase.first <= phase.half <= phase.last
        assert phase.peak_mb >= outcome.idle_mb > 20
        assert phase.cpu_seconds > 0


def test_the_table_tells_who_failed() -> None:
    phase = Phase(
        name="certify",
        proxies=1000,
        failed=3,
        refused=2,
        again=1,
        first=0.123,
        half=1.0,
        last=20.06,
        cpu_seconds=2.55,
        peak_mb=66.4,
    )

    *_, row, _, memory = table(Outcome(idle_mb=60.2, phases=(phase,))).splitlines()
    assert row == "| certify | 1000 | 3 | 2 | 1 | 0.12 s | 1.0 s | 20.1 s | 2.5 s | 66 MB |"
    assert memory == "Memory of identity before: 60 MB."
