"""Has this program come up? Asked again and again until it has, or has ended, or time is up."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio

from demo.messages import Accepts, Answers, Finishes, Listens, Readiness

_LISTENING = "0A"
_ANY = "00000000"
_ONE_TRY_SECONDS = 1.0


async def check(ready: Readiness, pid: int) -> str:
    """Empty if the process `pid` is ready as promised, else what is still missing, for people."""
    match ready:
        case Answers(url):
            return await _in_time(_answers, url)
        case Accepts(host, port):
            return await _in_time(_accepts, host, port)
        case Listens(ports, address):
            return _listens(pid, ports, address)
        case Finishes():
            return "it has not finished"
    return ""


async def _in_time(attempt: Callable[..., Coroutine[Any, Any, str]], *args: object) -> str:
    try:
        with anyio.fail_after(_ONE_TRY_SECONDS):
            return await attempt(*args)
    except TimeoutError:
        return f"no answer from {' '.join(map(str, args))}"
    except (OSError, anyio.EndOfStream, anyio.BrokenResourceError):
        return f"nothing answers at {' '.join(map(str, args))}"


async def _answers(url: str) -> str:
    """The little of HTTP that asks an admin port."""
    parts = urlsplit(url)
    async with await anyio.connect_tcp(parts.hostname or "", parts.port or 80) as stream:
        await stream.send(
            f"GET {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\nconnection: close\r\n\r\n".encode()
        )
        answer = b""
        async for part in stream:
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    if head.split(b" ")[1:2] == [b"200"]:
        return ""
    line = head.partition(b"\r\n")[0].decode(errors="replace")
    return f"{url} answers {line!r}: {body[:300].decode(errors='replace').strip()}"


async def _accepts(host: str, port: int) -> str:
    await (await anyio.connect_tcp(host, port)).aclose()
    return ""


def _listens(pid: int, ports: tuple[int, ...], address: str) -> str:
    """Look into the table of sockets (proc(5)) of the process's network namespace.

    Connecting instead would meet the proxy, which listens for every port.
    """
    open_ports: set[int] = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            local, state = line.split()[1], line.split()[3]
            host, _, port = local.rpartition(":")
            if state == _LISTENING and (table == "tcp6" or host in (_ANY, _hex(address))):
                open_ports.add(int(port, 16))
    missing = sorted(set(ports) - open_ports)
    return f"it does not listen on {address} port {', '.join(map(str, missing))}" if missing else ""


def _hex(address: str) -> str:
    """An IPv4 address as proc(5) writes it: the bytes of the word, last first."""
    return "".join(f"{int(byte):02X}" for byte in reversed(address.split(".")))
