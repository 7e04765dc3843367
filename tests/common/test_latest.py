"""A cell of immutable values: readers may skip values, never go back."""

from itertools import groupby, pairwise

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.latest import Latest
from tests.support.nats import until

pytestmark = pytest.mark.anyio


async def test_a_reader_that_is_slow_skips_values_but_never_goes_back() -> None:
    cell = Latest(0)
    seen: list[int] = []

    async def read() -> None:
        async for value in cell.changes():
            seen.append(value)
            for _ in range(value % 3):
                await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        for value in range(1, 101):
            cell.set(value)
            if value % 7 == 0:
                await anyio.lowlevel.checkpoint()
        await until(lambda: seen and seen[-1] == 100)
        group.cancel_scope.cancel()

    assert all(earlier < later for earlier, later in pairwise(seen))


async def test_waiting_for_a_value_that_is_there_returns_it() -> None:
    cell = Latest(3)

    assert await cell.wait_for(lambda value: value > 2) == 3


async def test_waiting_ends_when_the_value_comes() -> None:
    cell = Latest(0)
    got: list[int] = []

    async def wait() -> None:
        got.append(await cell.wait_for(lambda value: value >= 2))

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        for value in (1, 2, 3):
            await anyio.wait_all_tasks_blocked()
            cell.set(value)

    assert got == [2]


@given(st.lists(st.integers(0, 3)))
def test_watchers_are_told_of_each_change_and_of_nothing_else(values: list[int]) -> None:
    cell, told = Latest(0), list[int]()
    cell.on_change(told.append)
    for value in values:
        cell.set(value)

    assert [0, *told] == [value for value, _ in groupby([0, *values])]
    assert cell.value == [0, *values][-1]


def test_a_watcher_that_left_is_told_nothing_more() -> None:
    cell, told = Latest(0), list[int]()
    leave = cell.on_change(told.append)
    cell.set(1)
    leave()
    cell.set(2)

    assert told == [1]
