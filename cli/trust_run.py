"""Asks identity about trust, and watches a rotation."""

import click

from cli.durations import spell
from cli.mesh import named_mesh, operator_bus, run
from cli.output import console, json, note, table
from cli.watching import ask, watched
from common.clock import SystemClock
from common.contract import subjects
from common.contract.identity import Rotation, TrustChange, TrustQuestion

COLUMNS = ("NAME", "WAITED", "WHY")
_SHORT = 16
_MEANING = {
    "steady": "no rotation is under way",
    "added": "the new anchor is trusted beside the old one",
    "switched": "leaves are signed below the new anchor",
    "removed": "the old anchor is trusted no more",
}


def ask_status(*, as_json: bool) -> None:
    """Show how it is. Raises what operator_bus raises, BusUnavailable or Refused."""
    mesh = named_mesh()

    async def once() -> Rotation:
        async with operator_bus(mesh) as bus:
            return await ask(bus, subjects.trust_status(), TrustQuestion())

    show(run(once), as_json=as_json)


def take(change: TrustChange, *, as_json: bool) -> None:
    """Take one step and show how it is then. Raises the same."""
    mesh = named_mesh()

    async def once() -> Rotation:
        async with operator_bus(mesh) as bus:
            return await ask(bus, subjects.trust_change(), change)

    show(run(once), as_json=as_json)


def rotate(change: TrustChange, patience: float, *, as_json: bool) -> int:
    """Rotate and watch; the exit status. Raises the same."""
    mesh = named_mesh()

    async def watch() -> tuple[Rotation, bool]:
        async with operator_bus(mesh) as bus:
            before = await ask(bus, subjects.trust_status(), TrustQuestion())
            await ask(bus, subjects.trust_change(), change)
            return await watched(
                lambda: ask(bus, subjects.trust_status(), TrustQuestion()),
                _line,
                lambda now: now.completed > before.completed and now.phase == "steady",
                patience,
            )

    last, done = run(watch)
    show(last, as_json=as_json)
    if done:
        note("the new anchor has taken the place of the old one")
        return 0
    _explain(last, patience)
    return 1


def show(rotation: Rotation, *, as_json: bool) -> None:
    """Print how it is."""
    if as_json:
        print(json(rotation))
        return
    now = SystemClock.now()
    click.echo(f"phase     {rotation.phase}: {_MEANING[rotation.phase]}")
    if rotation.old:
        click.echo(f"anchor    {rotation.new[:_SHORT]} takes the place of {rotation.old[:_SHORT]}")
        going = "by itself" if rotation.automatic else "when told to"
        click.echo(f"goes on   {going}; in this phase for {_age(now - rotation.since)}")
    else:
        click.echo(f"anchor    {rotation.new[:_SHORT]}")
    click.echo(f"in force  at {rotation.acknowledged}; waited for: {len(rotation.waiting)}")
    if rotation.left_behind:
        click.echo(f"left      {', '.join(rotation.left_behind)}")
    if rotation.trouble:
        click.echo(f"trouble   {rotation.trouble}")
    if rotation.waiting:
        rows = [(one.name, _age(now - one.since), one.why) for one in rotation.waiting]
        console().print(table(COLUMNS, rows))


def _line(rotation: Rotation) -> str:
    waiting = ", ".join(one.name for one in rotation.waiting)
    tail = f"; waiting for {waiting}" if waiting else ""
    return f"{_MEANING[rotation.phase]}; in force at {rotation.acknowledged}{tail}"


def _explain(rotation: Rotation, patience: float) -> None:
    note(f"no further for {spell(patience)}, in phase {rotation.phase!r}")
    if rotation.trouble:
        note(rotation.trouble)
    for one in rotation.waiting:
        if one.name not in rotation.left_behind:
            note(f"{one.name}: {one.why}")
    note("it goes on by itself as soon as they acknowledge; without them: --leave-behind NAME")
    note("to take the last step back: tulle trust back")


def _age(seconds: float) -> str:
    return f"{max(0.0, seconds):.0f}s"
