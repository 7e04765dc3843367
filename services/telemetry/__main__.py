"""`python -m services.telemetry`: the service as a program."""

import ssl
from pathlib import Path

from common import config, log
from common.bus import Bus
from common.contract import subjects
from common.errors import InvalidCertificate, InvalidSettings
from common.lifecycle import Stop, run
from common.x509 import bus_context
from services.telemetry.service import Telemetry
from services.telemetry.settings import Settings


async def main(stop: Stop) -> None:
    """Run until told to stop."""
    settings = config.load(Settings)
    log.setup(settings.log_level, settings.log_format)

    def trusting() -> ssl.SSLContext:
        # Read afresh for each connection: anchors rotate.
        return _trusting(settings.trust_anchors_file)

    trusting()
    async with Bus(
        settings.bus,
        name="telemetry",
        tls=trusting,
        nkey_seed=_seed(settings.nkey_file),
        inbox_prefix=subjects.role_inbox("telemetry"),
    ) as bus:
        telemetry = Telemetry(bus)
        async with telemetry.admin(settings.admin_listen):
            await telemetry.start()
            await stop.wait()


def _trusting(path: str) -> ssl.SSLContext:
    try:
        return bus_context(_read(path, "TULLE_TRUST_ANCHORS_FILE"))
    except InvalidCertificate as error:
        raise InvalidSettings(f"TULLE_TRUST_ANCHORS_FILE={path!r}: {error}") from None


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
