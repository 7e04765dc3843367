"""The load generators: how each is called, and what it says it did."""

import re
import sys
from pathlib import Path

import anyio
import msgspec

from benchmarks import plan
from benchmarks.origin import GRPC_PATH

_SLACK_SECONDS = 30
Door = tuple[str, int]


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What a load came to."""

    count: float
    """Requests, connections or bytes that went well."""
    failed: int
    per_second: float
    more: dict[str, float] = {}


class LoadFailed(Exception):
    """A load generator could not do its work; the message says what it said."""


async def wrk(door: Door, seconds: int, connections: int, *header: str) -> Done:
    """HTTP/1.1 requests as fast as they are answered, over kept connections or, if told so, fresh ones."""
    flags = [word for line in header for word in ("-H", line)]
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", *flags, _url(door)]
    return read_wrk(await _run(argv, seconds))


async def h2load(door: Door, seconds: int, question: Path | None = None) -> Done:
    """HTTP/2 requests as fast as they are answered; with `question` (a file), gRPC calls that ask it."""
    shape = [f"-c{plan.HTTP2_CONNECTIONS}", f"-m{plan.HTTP2_STREAMS}", f"-D{seconds}"]
    target = [*_call(question), _url(door, GRPC_PATH)] if question else [_url(door)]
    return read_h2load(await _run(["h2load", "-t1", *shape, *target], seconds))


async def call_once(door: Door, question: Path) -> None:
    """One gRPC call; raises LoadFailed if it does not end as a call should, with a status in the trailers."""
    said = await _run(["nghttp", "-v", "--no-dep", *_call(question), _url(door, GRPC_PATH)], 5)
    if "grpc-status: 0" not in said:
        raise LoadFailed(f"gRPC: no status in the trailers:\n{said[-800:]}")


async def bulk(door: Door, seconds: int) -> Done:
    """Bytes from the server as fast as they come."""
    return await _own("bulk", door, plan.BULK_CONNECTIONS, seconds=seconds)


async def steady(door: Door, seconds: int) -> Done:
    """HTTP/1.1 requests at a fixed rate, whatever the answers take."""
    return await _own("steady", door, plan.STEADY_RATE, seconds=seconds)


def idle_command(door: Door) -> list[str]:
    """The command that opens connections, uses each once, says "open", and keeps them until its input ends."""
    return [
        sys.executable,
        "-m",
        "benchmarks.idle",
        door[0],
        str(door[1]),
        str(plan.IDLE_CONNECTIONS),
    ]


async def _own(module: str, door: Door, amount: int, *, seconds: int) -> Done:
    argv = [sys.executable, "-m", f"benchmarks.{module}", door[0], str(door[1]), str(amount)]
    return msgspec.json.decode(await _run([*argv, str(seconds)], seconds), type=Done)


def _call(question: Path) -> list[str]:
    return ["-d", str(question), "-H", "content-type: application/grpc", "-H", "te: trailers"]


def _url(door: Door, path: str = "/") -> str:
    return f"http://{door[0]}:{door[1]}{path}"


async def _run(argv: list[str], seconds: int) -> str:
    with anyio.move_on_after(seconds + _SLACK_SECONDS):
        done = await anyio.run_process(argv, check=False)
        said = done.stdout.decode(errors="replace")
        if done.returncode:
            why = (done.stderr.decode(errors="replace") or said).strip()
            raise LoadFailed(f"{argv[0]}: exit status {done.returncode}: {why[-400:]}")
        return said
    raise LoadFailed(f"{' '.join(argv)}: does not end")


def read_wrk(said: str) -> Done:
    """What wrk printed; raises LoadFailed if it is nothing that wrk prints."""
    total = re.search(r"^\s*(\d+) requests in", said, re.M)
    rate = re.search(r"^Requests/sec:\s*([\d.]+)", said, re.M)
    if not total or not rate:
        raise LoadFailed(f"wrk: {said.strip()[-400:]}")
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    errors = re.search(
        r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said
    )
    bad = int(refused.group(1)) if refused else 0
    lost = sum(map(int, errors.groups())) if errors else 0
    return Done(count=int(total.group(1)) - bad, failed=bad + lost, per_second=float(rate.group(1)))


def read_h2load(said: str) -> Done:
    """What h2load printed; raises LoadFailed if it is nothing that h2load prints."""
    found = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", said)
    rate = re.search(r"^finished in .*?, ([\d.]+) req/s", said, re.M)
    if not found or not rate:
        raise LoadFailed(f"h2load: {said.strip()[-400:]}")
    good, *bad = map(int, found.groups())
    return Done(count=good, failed=sum(bad[:1]), per_second=float(rate.group(1)))
