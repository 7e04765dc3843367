"""What `python -m benchmarks.cluster` found, and how it is told: as Markdown, against the targets."""

import statistics

import msgspec

START_SECONDS = 10.0
PEAK_MB = 300.0
HEARD_SECONDS = 0.1
"""The targets of design/performance.md."""


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """Some changes in a row; times are seconds from a change's way to the API until a follower has it."""

    load: float
    """Of the machine just before: its average of one minute."""
    p50: float
    p99: float
    worst: float


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """Rounds with followers of one kind."""

    who: str
    cpu_us: float | None
    """Processor time that a change costs each follower, in microseconds; None if few hear of each."""
    rounds: tuple[Round, ...]

    def median(self, figure: str) -> float:
        """The median of the rounds, in seconds."""
        return float(statistics.median(getattr(one, figure) for one in self.rounds))


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
    heard: tuple[Heard, ...]


def table(outcome: Outcome) -> str:
    """What was measured, as Markdown."""
    o = outcome
    start = [
        (f"until {o.endpoints} endpoints are published", START_SECONDS, o.start_seconds, "s"),
        ("… its CPU", None, o.start_cpu, "s"),
        ("… its memory, peak", PEAK_MB, o.peak_mb, "MB"),
        ("the next process, which finds all published", None, o.again_seconds, "s"),
    ]
    rows = [
        f"| {what} | {_target(target, found, unit)} | {_number(found)} {unit} |"
        for what, target, found, unit in start
    ]
    return "\n".join(
        [
            f"Destination in a cluster with {o.services} services:",
            "",
            "| from its start | target | measured |",
            "|---|---|---|",
            *rows,
            "",
            "From a change of an EndpointSlice until followers have it; medians of the rounds:",
            "",
            f"| followers | p50 | p99 (target: ≤ {HEARD_SECONDS * 1000:.0f} ms) | worst | CPU of each"
            " | p99 of each round (load of the machine) |",
            "|---|---|---|---|---|---|",
            *(_heard(one) for one in o.heard),
        ]
    )


def _heard(heard: Heard) -> str:
    p50, p99, worst = (_ms(heard.median(figure)) for figure in ("p50", "p99", "worst"))
    rounds = ", ".join(f"{_ms(one.p99)} ({one.load:.1f})" for one in heard.rounds)
    cpu = "" if heard.cpu_us is None else f"{heard.cpu_us:.0f} µs"
    return f"| {heard.who} | {p50} | {p99} | {worst} | {cpu} | {rounds} |"


def _target(target: float | None, found: float, unit: str) -> str:
    if target is None:
        return ""
    return f"≤ {target:.0f} {unit}: {'met' if found <= target else 'missed'}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
