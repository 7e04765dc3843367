"""What the environment tells telemetry."""

from typing import Annotated

import msgspec
from msgspec import Meta

from common.log import Format, Level

Servers = Annotated[
    tuple[str, ...],
    Meta(
        min_length=1, description="addresses of NATS such as tls://nats:4222, with commas between"
    ),
]
File = Annotated[str, Meta(min_length=1, description="the path of a file")]
Listen = Annotated[str, Meta(pattern=r"^.+:\d+$", description="HOST:PORT")]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """A field `x` is the variable `TULLE_X`; see common/config.py."""

    bus: Servers
    trust_anchors_file: File
    nkey_file: File
    admin_listen: Listen = "127.0.0.1:9990"
    trust_domain: str = "cluster.local"
    log_level: Level = "info"
    log_format: Format = "plain"
