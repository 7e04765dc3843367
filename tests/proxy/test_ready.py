"""`python -m proxy.ready`: ends when the proxy is ready, and not before."""

import anyio
import pytest

from common.admin import Admin, ready
from proxy.ready import main

pytestmark = pytest.mark.anyio


async def test_it_waits_until_the_proxy_is_ready() -> None:
    asked = 0

    def is_ready() -> bool:
        nonlocal asked
        asked += 1
        return asked > 2

    async with Admin("127.0.0.1:0", {"/ready": ready(is_ready)}) as admin:
        status = await anyio.to_thread.run_sync(main, ["--port", str(admin.port)])

    assert (status, asked) == (0, 3)


async def test_it_gives_up_in_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    async with Admin("127.0.0.1:0", {"/ready": ready(lambda: False)}) as admin:
        words = ["--port", str(admin.port), "--timeout", "0.05"]
        status = await anyio.to_thread.run_sync(main, words)

    assert status == 1
    assert "not ready within 0.05 s" in capsys.readouterr().err


async def test_where_nothing_listens_nothing_is_ready(capsys: pytest.CaptureFixture[str]) -> None:
    async with Admin("127.0.0.1:0", {}) as admin:
        port = str(admin.port)

    assert await anyio.to_thread.run_sync(main, ["--port", port, "--timeout", "0.05"]) == 1
    assert capsys.readouterr().err
