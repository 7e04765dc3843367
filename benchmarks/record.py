"""What a run found, as it was found: every round of every contender, and why some are not there."""

import statistics

import msgspec

from benchmarks.plan import Effort

Figures = dict[str, float]
"""Named figures of one measurement; those that end in _us are microseconds of CPU per request."""


class Record(msgspec.Struct, kw_only=True):
    """The rounds of a run: `samples[row][contender]` has one entry per round."""

    effort: Effort
    samples: dict[str, dict[str, list[Figures]]] = {}
    left_out: dict[str, str] = {}
    """What could not be measured, as `row/contender`, with the reason."""
    machine: dict[str, str] = {}
    versions: dict[str, str] = {}
    taken_on: str = ""
    seconds: float = 0.0

    def median(self, row: str, contender: str, figure: str) -> float | None:
        """The median of the rounds; None if it was not measured."""
        rounds = self.samples.get(row, {}).get(contender, [])
        known = [one[figure] for one in rounds if figure in one]
        return statistics.median(known) if known else None

    def ratio(self, row: str, figure: str, ours: str, theirs: str) -> float | None:
        """The median of each round's ratio, which what slows a whole round does not move."""
        own, peer = (self.samples.get(row, {}).get(name, []) for name in (ours, theirs))
        ratios = [
            a[figure] / b[figure]
            for a, b in zip(own, peer, strict=False)
            if figure in a and b.get(figure)
        ]
        return statistics.median(ratios) if ratios else None

    def better_envoy(self, row: str, figure: str) -> str:
        """Which of Envoy's ways has the lower median; the only one there is, where there is one."""
        ways = {way: self.median(row, way, figure) for way in ("envoy", "envoy-h2")}
        known = {way: value for way, value in ways.items() if value is not None}
        return min(known, key=known.__getitem__) if known else "envoy"
