"""From rounds to the document, the table and the picture."""

import json
from xml.etree import ElementTree

from benchmarks import plot, table
from benchmarks.plan import QUICK, TARGETS
from benchmarks.record import Figures, Record
from benchmarks.results import document, verdicts


def costs(*rounds: float) -> list[Figures]:
    return [
        {"cpu_us": us, "outbound_us": us, "inbound_us": us, "per_second": 1000.0} for us in rounds
    ]


def a_record() -> Record:
    figures = {
        "http1": {
            "tulle": costs(40, 80, 41),
            "envoy": costs(120, 240, 110),
            "envoy-h2": costs(60, 100, 61),
            "haproxy": costs(30, 60, 31),
        },
        "tcp": {"tulle": [{"mb_per_second": 270.0}], "haproxy": [{"mb_per_second": 300.0}]},
        "rss": {
            "tulle": [{"idle_mb": 45.0, "connections_mb": 70.0}],
            "envoy": [{"idle_mb": 75.0, "connections_mb": 100.0}],
        },
    }
    return Record(effort=QUICK, samples=figures, left_out={"http2/tulle": "h2load <is> not here"})


def test_the_document_has_always_the_same_shape() -> None:
    empty, full = document(Record(effort=QUICK)), document(a_record())

    for found in (empty, full):
        assert set(found) == {"paths", "tcp", "latency", "rss", "handshakes", "details"}
        for name in ("http1", "http2", "grpc"):
            assert set(found["paths"][name]) == {
                "tulle_cpu_us",
                "envoy_cpu_us",
                "haproxy_cpu_us",
                "cpu_ratio_envoy",
            }
    assert json.loads(json.dumps(full)) == full


def test_what_was_not_measured_is_null_and_says_why() -> None:
    found = document(a_record())

    assert found["paths"]["http2"]["cpu_ratio_envoy"] is None
    assert found["handshakes"]["ratio_haproxy"] is None
    assert found["details"]["left_out"] == {"http2/tulle": "h2load <is> not here"}


def test_envoy_is_compared_in_its_better_way() -> None:
    http1 = document(a_record())["paths"]["http1"]

    assert http1["envoy_cpu_us"] == 61
    assert http1["tulle_cpu_us"] == 41


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    # 40/60, 80/100, 41/61: one slow round is slow for both.
    assert document(a_record())["paths"]["http1"]["cpu_ratio_envoy"] == round(41 / 61, 3)


def test_memory_is_judged_where_it_is_worse_for_us() -> None:
    assert document(a_record())["rss"]["ratio_envoy"] == 0.7


def test_more_throughput_is_better_and_more_cost_is_not() -> None:
    kept = {
        target.name: ratio is not None and target.met(ratio)
        for target, ratio in verdicts(document(a_record()))
    }

    assert kept["tcp.ratio_haproxy"]
    assert kept["paths.http1.cpu_ratio_envoy"]
    assert not kept["latency.p99_ratio_envoy"]
    assert len(kept) == len(TARGETS)


def test_the_table_names_misses_and_what_is_missing() -> None:
    record = a_record()
    record.samples["http1"]["tulle"] = costs(90, 180, 90)
    page = table.page(record)

    assert [line.split("|")[4].strip() for line in page.splitlines() if "cpu_ratio" in line] == [
        "MISSED",
        "not measured",
        "not measured",
    ]
    assert "- http2/tulle: h2load <is> not here" in page


def test_the_picture_is_well_formed_and_says_what_was_not_measured() -> None:
    drawn = ElementTree.fromstring(plot.picture(a_record()))
    texts = [element.text or "" for element in drawn.iter() if element.tag.endswith("text")]

    assert "Envoy 61" in texts
    assert "Tulle: not measured" in texts
