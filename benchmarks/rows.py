"""One measurement: a load through one contender, and what it cost the contender's two processes."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio

from benchmarks import loads, plan
from benchmarks.accounting import cpu_seconds, resident_mb
from benchmarks.loads import Done, Door, LoadFailed
from benchmarks.origin import question
from benchmarks.place import door
from benchmarks.plan import Contender, Effort
from benchmarks.record import Figures
from benchmarks.stand import Pair, Stand

_SETTLE_SECONDS = 0.05
_WARM_SECONDS = 1
_CLOSE = "connection: close"


class Rows:
    """Measures on one stand."""

    def __init__(self, stand: Stand, effort: Effort) -> None:
        self._stand = stand
        self._effort = effort
        self._loads: dict[str, Callable[[Door, int], Awaitable[Done]]] = {
            "http1": lambda at, seconds: loads.wrk(at, seconds, plan.HTTP1_CONNECTIONS),
            "http2": loads.h2load,
            "grpc": lambda at, seconds: loads.h2load(at, seconds, self._question),
            "tcp": loads.bulk,
            "handshakes": lambda at, seconds: loads.wrk(
                at, seconds, plan.HANDSHAKE_CONNECTIONS, _CLOSE
            ),
            "latency": loads.steady,
        }
        self._seconds = {
            "tcp": effort.bulk,
            "handshakes": effort.handshakes,
            "latency": effort.steady,
        }

    @property
    def _question(self) -> Path:
        return question(self._stand.mesh.origin_folder)

    async def warm(self, row: str, contender: Contender) -> None:
        """See that the way works, and fill what fills up; raises LoadFailed."""
        at = door(row, contender, self._stand.mesh.service)
        if row == "grpc" and "nghttp" in self._stand.tools.found:
            await loads.call_once(at, self._question)
        _checked(await self._loads[row](at, _WARM_SECONDS))

    async def measure(self, row: str, contender: Contender) -> Figures:
        """One measurement; raises LoadFailed if not everything went well."""
        at = door(row, contender, self._stand.mesh.service)
        pair = self._stand.pairs[contender.product]
        before = _used(pair)
        done = _checked(await self._loads[row](at, self._seconds.get(row, self._effort.load)))
        # The last connections are being closed: that belongs to it.
        await anyio.sleep(_SETTLE_SECONDS)
        spent = [after - was for after, was in zip(_used(pair), before, strict=True)]
        outbound, inbound = (seconds / done.count * 1e6 for seconds in spent)
        if row == "tcp":
            gigabytes = done.count / 1e9
            return {"mb_per_second": done.per_second / 1e6, "cpu_s_per_gb": sum(spent) / gigabytes}
        return {
            "cpu_us": (outbound + inbound) / 2,
            "outbound_us": outbound,
            "inbound_us": inbound,
            "per_second": done.per_second,
            **done.more,
        }

    async def memory(self, contender: Contender) -> Figures:
        """Resident memory per proxy: idle, and with many idle connections; raises LoadFailed."""
        pair = self._stand.pairs[contender.product]
        idle = resident_mb(pair) / 2
        argv = loads.idle_command(door("http1", contender, self._stand.mesh.service))
        async with await anyio.open_process(argv, stderr=None) as holder:
            assert holder.stdout is not None
            try:
                said = await holder.stdout.receive()
            except anyio.EndOfStream:
                raise LoadFailed("idle connections: could not be opened") from None
            if said != b"open\n":
                raise LoadFailed(f"idle connections: {said!r}")
            held = resident_mb(pair) / 2
            await holder.aclose()
        return {"idle_mb": idle, "connections_mb": held}

    def loaded(self, contender: Contender) -> float:
        """Resident memory per proxy after everything, in units of 10⁶ bytes."""
        return resident_mb(self._stand.pairs[contender.product]) / 2


def _used(pair: Pair) -> list[float]:
    return [cpu_seconds(pid) for pid in pair]


def _checked(done: Done) -> Done:
    if done.failed or not done.count:
        raise LoadFailed(f"{done.failed} failed, {done.count:.0f} went well")
    return done
