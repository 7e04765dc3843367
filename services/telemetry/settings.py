"""What the environment tells telemetry."""

import msgspec

from common.config import File, Listen, Servers
from common.log import Format, Level


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """A field `x` is the variable `TULLE_X`; see common/config.py."""

    bus: Servers
    trust_anchors_file: File
    nkey_file: File
    admin_listen: Listen = "127.0.0.1:9990"
    trust_domain: str = "cluster.local"
    log_level: Level = "info"
    log_format: Format = "plain"
