"""Which service does a name mean?"""

import re

from common.errors import InvalidName
from common.names import ServiceName

_AUTHORITY = re.compile(r"(?:\[(?P<v6>[^]]+)\]|(?P<host>[^:\[\]]*))(?::(?P<port>[0-9]{0,5}))?")


def split_authority(authority: bytes, default_port: int) -> tuple[str, int] | None:
    """Host (without brackets) and port of `host[:port]`; None if it is not one."""
    match = _AUTHORITY.fullmatch(authority.decode("latin-1"))
    if match is None:
        return None
    host = (match["v6"] or match["host"]).rstrip(".").lower()
    port = int(match["port"]) if match["port"] else default_port
    return (host, port) if host and 0 < port < 65536 else None


def service_named(host: str, namespace: str, cluster_domain: str) -> ServiceName | None:
    """The service that `host` means to a client in `namespace`, by Kubernetes' search path; None if none.

    `books`, `books.shop`, `books.shop.svc` and `books.shop.svc.<cluster-domain>`. Whether that service
    exists is another question.
    """
    parts = host.removesuffix("." + cluster_domain).removesuffix(".svc").split(".")
    if len(parts) > 2 or host.replace(".", "").isdigit():
        return None
    try:
        return ServiceName(namespace=parts[1] if len(parts) == 2 else namespace, name=parts[0])
    except InvalidName:
        return None
