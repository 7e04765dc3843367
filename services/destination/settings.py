"""What the environment tells destination."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from common.config import File, Listen, Servers
from common.log import Format, Level
from common.names import DEFAULT_TRUST_DOMAIN


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """A field `x` is the variable `TULLE_X`; see common/config.py."""

    bus: Servers
    trust_anchors_file: File
    nkey_file: File
    source: Annotated[
        Literal["directory", "kubernetes"], Meta(description="where Services, Pods … come from")
    ] = "directory"
    directory: Annotated[
        str, Meta(description="the path of a directory of YAML files, if that is the source")
    ] = ""
    kubeconfig: Annotated[
        str, Meta(description="the path of a kubeconfig; if not given, the pod's own account")
    ] = ""
    admin_listen: Listen = "127.0.0.1:9990"
    trust_domain: Annotated[str, Meta(description="the mesh's trust domain")] = DEFAULT_TRUST_DOMAIN
    poll_seconds: Annotated[
        float, Meta(ge=0.02, le=60, description="seconds between two looks at the directory")
    ] = 0.2
    replica: str = ""
    """What this replica is called among others, such as a pod's name; by default host and process."""
    log_level: Level = "info"
    log_format: Format = "plain"
