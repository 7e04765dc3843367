"""What the environment tells the injector."""

from typing import Annotated

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
    listen: Listen = "0.0.0.0:8443"
    admin_listen: Listen = "127.0.0.1:9995"
    kubeconfig: Annotated[
        str, Meta(description="the path of a kubeconfig; if not given, the pod's own account")
    ] = ""
    namespace: Annotated[str, Meta(description="where the injector itself runs")] = "tulle"
    service: Annotated[str, Meta(description="the Service by which the API reaches it")] = (
        "tulle-injector"
    )
    secret: Annotated[str, Meta(description="the Secret that holds the webhook's certificate")] = (
        "tulle-injector-tls"
    )
    webhook: Annotated[
        str, Meta(description="the MutatingWebhookConfiguration whose caBundle it keeps")
    ] = "tulle-injector"
    proxy_bus: tuple[str, ...] = ()
    """Where proxies find NATS; by default where the injector does."""
    proxy_image: str = ""
    """Of proxies, with or without a tag."""
    proxy_defaults: Annotated[
        str,
        Meta(
            description='annotations that hold where none are: JSON, {"proxy-log-level": "debug"}'
        ),
    ] = ""
    trust_domain: Annotated[str, Meta(description="the mesh's trust domain")] = DEFAULT_TRUST_DOMAIN
    cluster_domain: Annotated[str, Meta(description="the suffix of service names")] = (
        "cluster.local"
    )
    replica: str = ""
    """What this replica is called among others, such as a pod's name; by default host and process."""
    log_level: Level = "info"
    log_format: Format = "plain"
