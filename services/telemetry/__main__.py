"""`python -m services.telemetry`: the service as a program."""

import os
import socket
from pathlib import Path

import anyio

from common import config, log
from common.bus import Bus
from common.contract import subjects
from common.errors import InvalidCertificate, InvalidSettings
from common.lifecycle import Stop, run
from common.trusting import Trusting
from services.telemetry.service import Telemetry
from services.telemetry.settings import Settings


async def main(stop: Stop) -> None:
    """Run until told to stop."""
    settings = config.load(Settings)
    log.setup(settings.log_level, settings.log_format)

    trusting = _trusting(settings.trust_anchors_file)
    async with Bus(
        settings.bus,
        name="telemetry",
        tls=trusting.context,
        nkey_seed=_seed(settings.nkey_file),
        inbox_prefix=subjects.role_inbox("telemetry"),
    ) as bus:
        telemetry = Telemetry(bus)
        replica = f"{socket.gethostname()}:{os.getpid()}"
        async with (
            telemetry.admin(settings.admin_listen),
            anyio.create_task_group() as group,
        ):
            await telemetry.start()
            group.start_soon(trusting.run, bus, "telemetry", replica)
            await stop.wait()
            group.cancel_scope.cancel()


def _trusting(path: str) -> Trusting:
    """Whom we trust to be the bus; raises InvalidSettings."""
    trusting = Trusting(lambda: _read(path, "TULLE_TRUST_ANCHORS_FILE"))
    try:
        trusting.context()
    except InvalidCertificate as error:
        raise InvalidSettings(f"TULLE_TRUST_ANCHORS_FILE={path!r}: {error}") from None
    return trusting


def _seed(path: str) -> str:
    seed = _read(path, "TULLE_NKEY_FILE").strip()
    if not seed.startswith("SU"):
        raise InvalidSettings(f"TULLE_NKEY_FILE={path!r}: expected an nkey user seed: SU…")
    return seed


def _read(path: str, variable: str) -> str:
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise InvalidSettings(f"{variable}={path!r}: cannot be read: {reason}") from None


if __name__ == "__main__":
    run(main)
