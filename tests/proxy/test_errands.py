"""Tasks for single connections: one that breaks ends nothing but itself."""

import anyio
import anyio.lowlevel
import pytest

from proxy.session.errands import Errands

pytestmark = pytest.mark.anyio


async def test_a_task_that_breaks_is_counted_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    faults: list[int] = []
    done: list[str] = []

    async def breaks() -> None:
        raise ZeroDivisionError

    async def works(word: str) -> None:
        await anyio.lowlevel.checkpoint()
        done.append(word)

    async with anyio.create_task_group() as group:
        errands = Errands(group, lambda: faults.append(1))
        errands.start_soon(breaks)
        errands.start_soon(works, "well")

    assert done == ["well"]
    assert faults == [1]
    assert "ZeroDivisionError" in caplog.text
