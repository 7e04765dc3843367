"""The record as a page of Markdown, which is also what people see in the terminal."""

from collections.abc import Iterable

from benchmarks import plan
from benchmarks.plan import PROTOCOLS
from benchmarks.record import Record
from benchmarks.results import cpu, document, verdicts

_NOT_MEASURED = "–"
_NAMES = {
    "http1": "HTTP/1.1",
    "http2": "HTTP/2",
    "grpc": "gRPC, unary",
}


def page(record: Record) -> str:
    """Everything: CPU, the other rows, the targets, and what it was taken on."""
    return "\n\n".join([*summary(record), _machine(record)]) + "\n"


def summary(record: Record) -> list[str]:
    """The tables, and what is missing from them."""
    parts = [
        f"CPU per request and proxy, in µs; {plan.SHAPE}:",
        _costs(record),
        "Everything else:",
        _others(record),
        "Targets:",
        _targets(record),
    ]
    if record.left_out:
        lines = [f"- {name}: {reason}" for name, reason in record.left_out.items()]
        parts += ["Not measured:", "\n".join(lines)]
    return parts


def _costs(record: Record) -> str:
    rows = []
    for row in PROTOCOLS:
        cells = [_NAMES[row]]
        for product in plan.PRODUCTS:
            way = record.better_envoy(row, "cpu_us") if product == "envoy" else product
            out, into = (record.median(row, way, f"{s}_us") for s in ("outbound", "inbound"))
            rate = record.median(row, way, "per_second")
            split = f" ({_number(out)} + {_number(into)}, {_number(rate)}/s)"
            total = cpu(record, row, product)
            cells.append(_NOT_MEASURED if total is None else f"{_number(total)}{split}")
        ratios = (
            record.ratio(row, "cpu_us", "tulle", peer)
            for peer in (record.better_envoy(row, "cpu_us"), "haproxy")
        )
        rows.append(cells + [_ratio(value) for value in ratios])
    head = ("", "Tulle (outbound + inbound, requests)", "Envoy", "HAProxy", "÷ Envoy", "÷ HAProxy")
    return _table(head, rows)


def _others(record: Record) -> str:
    wanted = (
        ("TCP relay, MB/s", "tcp", "mb_per_second", "envoy"),
        ("TCP relay, CPU seconds per GB and pair", "tcp", "cpu_s_per_gb", "envoy"),
        (
            "connections per second, each with a full mTLS handshake",
            "handshakes",
            "per_second",
            "envoy",
        ),
        (f"p50 at {plan.STEADY_RATE} requests/s, ms", "latency", "p50_ms", ""),
        (f"p99 at {plan.STEADY_RATE} requests/s, ms", "latency", "p99_ms", ""),
        ("resident memory per proxy, idle, MB", "rss", "idle_mb", "envoy"),
        (f"… with {plan.IDLE_CONNECTIONS} idle connections, MB", "rss", "connections_mb", "envoy"),
        ("… after all loads, MB", "rss", "loaded_mb", "envoy"),
    )
    rows = []
    for name, row, figure, way in wanted:
        envoy = way or record.better_envoy(row, figure)
        values = [_number(record.median(row, who, figure)) for who in ("tulle", envoy, "haproxy")]
        ratios = [_ratio(record.ratio(row, figure, "tulle", who)) for who in (envoy, "haproxy")]
        rows.append([name, *values, *ratios])
    return _table(("", "Tulle", "Envoy", "HAProxy", "÷ Envoy", "÷ HAProxy"), rows)


def _targets(record: Record) -> str:
    rows = []
    for target, ratio in verdicts(document(record)):
        word = "not measured" if ratio is None else "met" if target.met(ratio) else "MISSED"
        rows.append([f"`{target.name}`", str(target), _ratio(ratio), word])
    return _table(("", "target", "measured", ""), rows)


def _machine(record: Record) -> str:
    effort = record.effort
    facts = {
        "taken": f"{record.taken_on}, in {record.seconds:.0f} s",
        "rounds": f"{effort.rounds}, of {effort.load} s per load; medians of the rounds, and of their ratios",
        **record.machine,
        **record.versions,
    }
    return "Taken on:\n\n" + "\n".join(f"- {name}: {value}" for name, value in facts.items())


def _table(head: Iterable[str], rows: list[list[str]]) -> str:
    """A table whose columns line up in a terminal as well."""
    lines = [list(head), *rows]
    widths = [max(3, *(len(cell) for cell in column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |"
        for line in lines
    )


def _number(value: float | None) -> str:
    if value is None:
        return _NOT_MEASURED
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _ratio(value: float | None) -> str:
    return _NOT_MEASURED if value is None else f"{value:.2f}"
