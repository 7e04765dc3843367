"""Which endpoints are meant for clients in a zone? (Kubernetes' topology hints.)"""

from collections.abc import Sequence

from common.contract.discovery import Endpoint


def nearby(
    endpoints: Sequence[Endpoint], zone: str
) -> tuple[Sequence[Endpoint], Sequence[Endpoint]]:
    """The endpoints that their hints give to `zone`, and the others.

    Where the hints cannot be relied on, all are near: where the zone is not known, where a ready
    endpoint has no hint, and where no ready one is left. One that is not ready neither spoils the hints
    nor counts as being there.
    """
    ready = [e for e in endpoints if e.ready]
    if (
        not zone
        or not all(e.for_zones for e in ready)
        or not any(zone in e.for_zones for e in ready)
    ):
        return endpoints, ()
    return (
        [e for e in endpoints if zone in e.for_zones],
        [e for e in endpoints if zone not in e.for_zones],
    )
