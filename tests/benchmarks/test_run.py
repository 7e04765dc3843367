"""A run from end to end, as short as can be: the stand comes up, measures, and is gone."""

import shutil
from pathlib import Path

from benchmarks import outside
from benchmarks.messages import Order
from benchmarks.plan import Effort
from benchmarks.tools import Tools
from tests.support import hosts

BRIEF = Effort(rounds=1, load=1, bulk=1, handshakes=1, steady=1)


def test_a_run_measures_what_it_can_and_says_what_it_cannot() -> None:
    hosts.require()
    nginx = shutil.which("nginx", path=hosts.PATH)
    if not nginx:
        hosts.give_up("nginx is not here")
        return
    tools = Tools(found={"nginx": nginx}, missing={"envoy": "no envoy", "haproxy": "no haproxy"})

    record = outside.record(Order(tools=tools, effort=BRIEF, rows=("latency", "rss")))

    (steady,) = record.samples["latency"]["tulle"]
    assert 300 < steady["per_second"] < 700
    assert 0 < steady["p50_ms"] <= steady["p99_ms"]
    assert record.samples["rss"]["tulle"][0]["connections_mb"] > 20
    assert record.left_out["latency/envoy-h2"] == "no envoy"
    assert record.left_out["rss/haproxy"] == "no haproxy"
    assert not Path("/run/tulle-bench").exists()
