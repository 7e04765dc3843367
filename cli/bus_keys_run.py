"""Asks identity about the keys of the bus, and watches how they are replaced."""

from contextlib import suppress
from typing import TypeVar

import click
import msgspec

from cli.durations import about, spell
from cli.mesh import named_mesh, operator_bus, run
from cli.output import console, json, note, table
from cli.watching import ask, watched
from cli.ways import Way
from common.clock import SystemClock
from common.contract import subjects
from common.contract.identity import KeyRotation, KeysChange, KeysQuestion
from common.contract.topic import Question
from common.errors import BusUnavailable

Q = TypeVar("Q", bound=msgspec.Struct)

COLUMNS = ("KEYS", "AGE", "")
WAITED = ("NAME", "WAITED", "WHY")
_CHANGE_SECONDS, _STATUS_SECONDS = 10.0, 5.0
_MEANING = {
    "steady": "no rotation is under way",
    "added": "NATS is to admit by new keys as well",
    "switched": "new keys lie where they are used",
    "removed": "NATS is to admit by them alone",
}


def ask_status(*, as_json: bool) -> None:
    """Show how it is. Raises what operator_bus raises, BusUnavailable or Refused."""
    mesh = named_mesh()
    show(run(lambda: _status(mesh)), as_json=as_json)


def rotate(change: KeysChange, patience: float, *, as_json: bool) -> int:
    """Rotate and watch; the exit status. Raises the same."""
    mesh = named_mesh()

    async def watch() -> tuple[KeyRotation, bool]:
        note(_line(await _changed(mesh, change)))
        return await watched(
            lambda: _status(mesh),
            _line,
            lambda now: now.phase == "steady",
            patience,
        )

    last, done = run(watch)
    show(last, as_json=as_json)
    if done:
        came, went = ("old", "new") if change.back else ("new", "old")
        note(f"the {came} keys have taken the place of the {went} ones")
        return 0
    _explain(last, patience)
    return 1


def show(rotation: KeyRotation, *, as_json: bool) -> None:
    """Print how it is."""
    if as_json:
        print(json(rotation))
        return
    now = SystemClock.now()
    click.echo(f"phase     {rotation.phase}: {_MEANING[rotation.phase]}")
    if rotation.left_behind:
        click.echo(f"left      {', '.join(rotation.left_behind)}")
    if rotation.trouble:
        click.echo(f"trouble   {rotation.trouble}")
    rows = [
        (one.kind, about(now - one.since), "being replaced" if one.kind in rotation.what else "")
        for one in rotation.keys
    ]
    console().print(table(COLUMNS, rows))
    if rotation.waiting:
        waited = [(one.name, about(now - one.since), one.why) for one in rotation.waiting]
        console().print(table(WAITED, waited))


async def _changed(mesh: Way, change: KeysChange) -> KeyRotation:
    """Asked once more if nobody answers: what has begun goes on. Going back twice would be going forth."""
    with suppress(*(() if change.back else (BusUnavailable,))):
        return await _asked(mesh, subjects.keys_change(), change, _CHANGE_SECONDS)
    return await _asked(mesh, subjects.keys_change(), change, _CHANGE_SECONDS)


async def _status(mesh: Way) -> KeyRotation:
    # Identity, too, leaves the bus to come with its new key: then nobody answers.
    return await _asked(mesh, subjects.keys_status(), KeysQuestion(), _STATUS_SECONDS)


async def _asked(
    mesh: Way, question: Question[Q, KeyRotation], message: Q, timeout: float
) -> KeyRotation:
    """Come in anew each time: the operator's own key is one of those that are replaced."""
    async with operator_bus(mesh, lambda _: None) as bus:
        return await ask(bus, question, message, timeout=timeout)


def _line(rotation: KeyRotation) -> str:
    waiting = ", ".join(one.name for one in rotation.waiting)
    tail = f"; waiting for {waiting}" if waiting else ""
    trouble = f"; {rotation.trouble}" if rotation.trouble else ""
    return f"{_MEANING[rotation.phase]}{tail}{trouble}"


def _explain(rotation: KeyRotation, patience: float) -> None:
    note(f"no further for {spell(patience)}, in phase {rotation.phase!r}")
    if rotation.trouble:
        note(rotation.trouble)
    for one in rotation.waiting:
        if one.name not in rotation.left_behind:
            note(f"{one.name}: {one.why}")
    note("it goes on by itself as soon as they have; without them: --leave-behind NAME")
    note("to put the old keys in their place again: tulle bus rotate --back")
