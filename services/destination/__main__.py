"""`python -m services.destination`: the service as a program."""

import os
import socket
from pathlib import Path

import anyio

from common import config, log
from common.bus import Bus
from common.contract import subjects
from common.errors import InvalidName, InvalidSettings
from common.lifecycle import Stop, run
from common.names import check_subdomain
from common.trusting import Trusting
from services.destination.app import Destination
from services.destination.settings import Settings


async def main(stop: Stop) -> None:
    """Run until told to stop."""
    settings = config.load(Settings)
    try:
        check_subdomain(settings.trust_domain, "trust domain")
    except InvalidName as error:
        raise InvalidSettings(f"TULLE_TRUST_DOMAIN: {error}") from None
    log.setup(settings.log_level, settings.log_format)

    trusting = Trusting(lambda: _read(settings.trust_anchors_file, "TULLE_TRUST_ANCHORS_FILE"))
    trusting.context()
    replica = settings.replica or f"{socket.gethostname()}:{os.getpid()}"
    seed = _read(settings.nkey_file, "TULLE_NKEY_FILE").strip()
    async with Bus(
        settings.bus,
        name="destination",
        tls=trusting.context,
        nkey_seed=seed,
        inbox_prefix=subjects.role_inbox("destination"),
    ) as bus:
        destination = Destination(
            bus,
            Path(settings.directory),
            replica=replica,
            trust_domain=settings.trust_domain,
            poll_seconds=settings.poll_seconds,
        )
        async with (
            destination.admin(settings.admin_listen),
            anyio.create_task_group() as group,
        ):
            group.start_soon(destination.run)
            group.start_soon(trusting.run, bus, "destination", replica)
            await stop.wait()
            group.cancel_scope.cancel()


def _read(path: str, variable: str) -> str:
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise InvalidSettings(f"{variable}={path!r}: cannot be read: {reason}") from None


if __name__ == "__main__":
    run(main)
