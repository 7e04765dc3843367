"""How programs end: in order on the first signal, at once on the second, with a status that tells."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from common.errors import InvalidSettings, LeaseLost
from common.lifecycle import Stop, status_of

ROOT = Path(__file__).parents[2]

PROGRAM = """
import anyio, sys
from common import log
from common.lifecycle import Stop, run

async def main(stop: Stop) -> None:
    print("started", flush=True)
    try:
        await stop.wait()
        print("draining", flush=True)
        {drain}
        print("drained", flush=True)
    finally:
        print("left", flush=True)

log.setup()
run(main)
"""


@contextmanager
def program(drain: str) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(drain=drain)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert line(process) == "started"
            yield process
        finally:
            process.kill()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_a_program_to_end_in_good_order(number: signal.Signals) -> None:
    with program(drain="await anyio.sleep(0.1)") as process:
        process.send_signal(number)
        output, told = process.communicate(timeout=20)

        assert output.split() == ["draining", "drained", "left"]
        assert process.returncode == 0
        assert f"stopping signal={number.name}" in told


def test_a_second_signal_cuts_it_short() -> None:
    with program(drain="await anyio.sleep(600)") as process:
        process.send_signal(signal.SIGINT)
        assert line(process) == "draining"
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=20)

        assert output.split() == ["left"]
        assert process.returncode == 130


def test_a_third_signal_ends_even_what_does_not_let_itself_be_cancelled() -> None:
    stubborn = """
        with anyio.CancelScope(shield=True):
            await anyio.sleep(600)"""
    with program(drain=stubborn) as process:
        for said in ("draining", ""):
            process.send_signal(signal.SIGTERM)
            assert said in (line(process) if said else "")
        assert process.stderr is not None
        while "at once" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGTERM)

        assert process.wait(timeout=20) == 143


def test_wrong_settings_are_told_in_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    async def main(stop: Stop) -> None:
        raise InvalidSettings("TULLE_BUS: not set\nTULLE_DIR: not set")

    assert status_of(main) == 2
    assert capsys.readouterr().err == "TULLE_BUS: not set\nTULLE_DIR: not set\n"


def test_other_errors_of_the_mesh_are_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    async def main(stop: Stop) -> None:
        raise ExceptionGroup("", [LeaseLost("gone"), ExceptionGroup("", [LeaseLost("gone")])])

    assert status_of(main) == 1
    assert capsys.readouterr().err == "gone\n"


def test_a_bug_comes_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async def main(stop: Stop) -> None:
        raise ZeroDivisionError("oops")

    assert status_of(main) == 1
    assert "ZeroDivisionError: oops" in caplog.text


def test_a_program_that_returns_has_ended_well() -> None:
    async def main(stop: Stop) -> None:
        stop.request()
        await stop.wait()
        assert stop.requested

    assert status_of(main) == 0
