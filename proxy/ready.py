"""`python -m proxy.ready --port 4191 --timeout 120`: waits until the proxy beside it is ready.

A hook after the start of a classic sidecar's container: Kubernetes starts the next container when it ends.
"""

import argparse
import http.client
import sys
import threading
from collections.abc import Sequence

from common.clock import SystemClock

_EVERY = 0.1
_ANSWER = 1.0


def main(argv: Sequence[str] | None = None) -> int:
    """Wait; returns the exit status: 0 it is ready, 1 it was not in time."""
    parser = argparse.ArgumentParser(prog="python -m proxy.ready", allow_abbrev=False)
    parser.add_argument("--port", type=int, default=4191, help="the proxy's admin port")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds to wait at most")
    flags = parser.parse_args(argv)
    pause, end = threading.Event(), SystemClock.monotonic() + flags.timeout
    while not _is_ready(flags.port):
        if SystemClock.monotonic() > end:
            sys.stderr.write(f"the proxy was not ready within {flags.timeout:g} s\n")
            return 1
        pause.wait(_EVERY)
    return 0


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
