"""Goes through all rows and contenders, round after round, so that what disturbs a while disturbs all alike."""

import sys
import time
from collections.abc import Sequence

import anyio

from benchmarks.loads import LoadFailed
from benchmarks.plan import PRODUCTS, ROWS, Contender, Effort, Row
from benchmarks.record import Figures, Record
from benchmarks.rows import Rows
from benchmarks.stand import Stand

_TRIES = 2


class Rounds:
    """Fills a record."""

    def __init__(self, stand: Stand, effort: Effort) -> None:
        self.record = Record(effort=effort)
        self._stand = stand
        self._rows = Rows(stand, effort)

    async def run(self, rows: Sequence[str]) -> None:
        """Measure these rows."""
        began = time.monotonic()
        chosen = [row for row in ROWS if row.name in rows]
        taking_part = {row.name: self._able(row) for row in chosen}
        for row in chosen:
            async with anyio.create_task_group() as group:
                for who in taking_part[row.name]:
                    group.start_soon(self._warm, row, who)
        if "rss" in rows:
            await self._memory()
        for number in range(self.record.effort.rounds):
            _tell(f"round {number + 1} of {self.record.effort.rounds}")
            for row in chosen:
                mine = [who for who in taking_part[row.name] if self._still_in(row, who)]
                # Who comes first changes, in case that matters.
                turn = number % len(mine) if mine else 0
                for who in mine[turn:] + mine[:turn]:
                    await self._round(row, who)
        self._loaded()
        self.record.seconds = round(time.monotonic() - began, 1)

    def _able(self, row: Row) -> list[Contender]:
        """Who can take part; who cannot is noted."""
        tools = self._stand.tools
        able = []
        for who in row.contenders:
            reason = tools.missing.get(row.tool) or tools.missing.get(who.product)
            reason = reason or self._stand.not_up.get(who.product)
            if reason:
                self._leave_out(row.name, who, reason)
            else:
                able.append(who)
        return able

    async def _warm(self, row: Row, who: Contender) -> None:
        try:
            await self._rows.warm(row.name, who)
        except LoadFailed as error:
            self._leave_out(row.name, who, str(error))

    async def _round(self, row: Row, who: Contender) -> None:
        """One measurement, tried again if something went wrong; then never again."""
        for left in reversed(range(_TRIES)):
            try:
                figures = await self._rows.measure(row.name, who)
            except LoadFailed as error:
                _tell(f"{row.name} {who}: {error}")
                self._stand.check()
                if not left:
                    self._leave_out(row.name, who, str(error))
                    self.record.samples.get(row.name, {}).pop(str(who), None)
            else:
                _tell(f"{row.name} {who}: {_summary(figures)}")
                self._note(row.name, who, figures)
                return

    async def _memory(self) -> None:
        for product in PRODUCTS:
            who = Contender(product)
            if product not in self._stand.pairs:
                reason = self._stand.tools.missing.get(product) or self._stand.not_up[product]
                self._leave_out("rss", who, reason)
                continue
            try:
                self._note("rss", who, await self._rows.memory(who))
            except LoadFailed as error:
                self._leave_out("rss", who, str(error))

    def _loaded(self) -> None:
        for product, (figures,) in self.record.samples.get("rss", {}).items():
            figures["loaded_mb"] = self._rows.loaded(Contender(product))

    def _still_in(self, row: Row, who: Contender) -> bool:
        return f"{row.name}/{who}" not in self.record.left_out

    def _note(self, row: str, who: Contender, figures: Figures) -> None:
        self.record.samples.setdefault(row, {}).setdefault(str(who), []).append(figures)

    def _leave_out(self, row: str, who: Contender, reason: str) -> None:
        self.record.left_out[f"{row}/{who}"] = reason


def _summary(figures: Figures) -> str:
    return " ".join(f"{name}={value:.4g}" for name, value in figures.items())


def _tell(text: str) -> None:
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()
