"""What the identity service is told from the environment."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from common.log import Format, Level


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """`TULLE_` and the field's name in capitals; see `common.config`."""

    dir: Annotated[
        str,
        Meta(
            description="the mesh directory, such as /var/lib/tulle/mesh; in Kubernetes a folder in memory,"
            " which is filled from the Secret tulle-mesh"
        ),
    ]
    source: Annotated[
        Literal["directory", "kubernetes"], Meta(description="where the mesh directory comes from")
    ] = "directory"
    namespace: Annotated[str, Meta(description="where the Secret tulle-mesh is")] = "tulle"
    kubeconfig: Annotated[
        str, Meta(description="the path of a kubeconfig; if not given, the pod's own account")
    ] = ""
    bus: tuple[str, ...] = ()
    """Where NATS is; if not given, what the mesh directory says."""
    trust_domain: str = ""
    """If given, it must be the mesh directory's."""
    trust_anchors_file: str = ""
    nkey_file: str = ""
    parts_dir: str = ""
    """Holds folders with what others need of the mesh directory, such as their volumes: kept current."""
    nats_reload_seconds: Annotated[
        float,
        Meta(
            ge=0.1,
            le=600,
            description="in Kubernetes, seconds that a NATS server is given to see a changed Secret, before it"
            " is asked to read it, and asked again",
        ),
    ] = 30.0
    leaf_seconds: Annotated[float, Meta(ge=2, le=30 * 86_400)] = 86_400.0
    """How long a leaf lives."""
    lease_seconds: Annotated[float, Meta(ge=2, le=300)] = 10.0
    """How long the other replicas wait before one of them takes the place of one that fell silent."""
    admin_listen: str = "127.0.0.1:9990"
    log_level: Level = "info"
    log_format: Format = "plain"
