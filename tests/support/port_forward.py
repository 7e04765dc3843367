"""A stand-in for `kubectl port-forward`, where there is no kubelet: a port of loopback leads to $RELAY_TO.

It takes the words that `tulle` uses and no others, says what kubectl says, and writes its process id into
the file $RELAY_PID. With $RELAY_REFUSED it fails with these words instead.
"""

import asyncio
import os
import re
import sys
from contextlib import suppress
from pathlib import Path

WORDS = re.compile(r"port-forward --address=127\.0\.0\.1 service/tulle-nats (\d*):4222$")


def install(folder: Path) -> Path:
    """A program `kubectl` in `folder` that is this one; the folder."""
    program = folder / "kubectl"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} "$@"\n')
    program.chmod(0o755)
    return folder


async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def serve(port: int) -> None:
    host, _, target = os.environ["RELAY_TO"].rpartition(":")

    async def both(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, int(target))
        await asyncio.gather(relay(reader, back), relay(there, writer))

    server = await asyncio.start_server(both, "127.0.0.1", port)
    sys.stdout.write(f"Forwarding from 127.0.0.1:{server.sockets[0].getsockname()[1]} -> 4222\n")
    sys.stdout.flush()
    await server.serve_forever()


def main() -> None:
    said = WORDS.search(" ".join(sys.argv[1:]))
    refused = os.environ.get("RELAY_REFUSED") or ("" if said else f"unknown: {sys.argv[1:]}")
    if refused or said is None:
        sys.exit(f"error: {refused}")
    Path(os.environ["RELAY_PID"]).write_text(str(os.getpid()))
    asyncio.run(serve(int(said[1] or 0)))


if __name__ == "__main__":
    main()
