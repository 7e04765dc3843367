"""`python -m services.telemetry`: the service as a program."""

import anyio

from common import config, log
from common.bus import Bus
from common.contract import subjects
from common.lifecycle import Stop, process_name, run
from common.trusting import seed, trusting_file
from services.telemetry.service import Telemetry
from services.telemetry.settings import Settings


async def main(stop: Stop) -> None:
    """Run until told to stop."""
    settings = config.load(Settings)
    log.setup(settings.log_level, settings.log_format)

    trusting = trusting_file(settings.trust_anchors_file)
    async with Bus(
        settings.bus,
        name="telemetry",
        tls=trusting.context,
        nkey_seed=seed(settings.nkey_file),
        inbox_prefix=subjects.role_inbox("telemetry"),
    ) as bus:
        telemetry = Telemetry(bus)
        replica = process_name()
        async with (
            telemetry.admin(settings.admin_listen),
            anyio.create_task_group() as group,
        ):
            await telemetry.start()
            group.start_soon(trusting.run, bus, "telemetry", replica)
            await stop.wait()
            group.cancel_scope.cancel()


if __name__ == "__main__":
    run(main)
