"""`python -m benchmarks`, which is `make bench`: measures, prints a table or one JSON document.

Exit status: 0 it was measured (targets may have been missed: the table says so), 1 it could not be.
"""

import argparse
import json
import sys
from pathlib import Path

from benchmarks import machine, outside, plot, table, tools
from benchmarks.messages import Order, Profile
from benchmarks.outside import CannotRun
from benchmarks.plan import FULL, QUICK, ROWS
from benchmarks.record import Record
from benchmarks.results import document

PAGES = machine.ROOT / "docs" / "benchmarks"
_NAMES = (*(row.name for row in ROWS), "rss")


def main() -> int:
    """Run with the command line's arguments; the exit status."""
    flags = _parser().parse_args()
    found = tools.find(outside.search_path())
    for reason in found.missing.values():
        _tell(reason)
    hindrance = outside.hindrance(found)
    try:
        if flags.profile:
            if hindrance:
                raise CannotRun(hindrance)
            print(outside.profile(_order(flags, found)), end="")
            return 0
        record = Record(effort=QUICK if flags.quick else FULL, left_out={"everything": hindrance})
        if not hindrance:
            record = outside.record(_order(flags, found))
    except CannotRun as error:
        _tell(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    machine.describe(record, found)
    print(json.dumps(document(record), indent=1) if flags.json else table.page(record))
    if flags.write:
        write(record, PAGES)
    return 1 if hindrance else 0


def write(record: Record, folder: Path) -> None:
    """Write the pages of docs/benchmarks anew."""
    text = f"# The last recorded run\n\n![CPU per request](results.svg)\n\n{table.page(record)}"
    (folder / "results.md").write_text(text)
    (folder / "results.svg").write_text(plot.picture(record))


def _order(flags: argparse.Namespace, found: tools.Tools) -> Order:
    profile = None
    if flags.profile:
        row = flags.rows[0] if flags.rows else "http1"
        profile = Profile(side=flags.profile, row=row, seconds=flags.seconds)
    rows = tuple(flags.rows or _NAMES)
    return Order(tools=found, effort=QUICK if flags.quick else FULL, rows=rows, profile=profile)


def _rows(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in _NAMES]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r}: expected some of {','.join(_NAMES)}")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make bench BENCH_ARGS=…",
        description="Measure Tulle against Envoy and HAProxy, in one run on this machine.",
    )
    flag = parser.add_argument
    flag("--quick", action="store_true", help="in under three minutes, less exactly")
    flag("--json", action="store_true", help="print one JSON document instead of the table")
    flag("--write", action="store_true", help="write docs/benchmarks/results.md and .svg, too")
    flag("--rows", type=_rows, metavar="NAME,…", help=f"only some of {','.join(_NAMES)}")
    flag(
        "--profile",
        choices=("outbound", "inbound"),
        help="find out where this proxy of Tulle spends its time, under the first of --rows",
    )
    flag("--seconds", type=int, default=4, help="how long each load of a profile takes (4)")
    return parser


def _tell(text: str) -> None:
    sys.stderr.write(f"bench: {text}\n")


if __name__ == "__main__":
    sys.exit(main())
