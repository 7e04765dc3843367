"""May this client talk to this port?"""

from common.contract.discovery import DefaultPolicy
from common.names import Identity
from proxy.refusals import Unauthorized


def authorize(policy: DefaultPolicy, client: Identity | None, address: str) -> Unauthorized | None:
    """None if the workload's default policy lets the client in, else the refusal.

    `client` is the identity proven in the handshake; `address` is the client's IP address. What comes
    from the workload itself, over loopback, is always let in.
    """
    if policy == "all-unauthenticated" or _is_loopback(address):
        return None
    if policy == "all-authenticated" and client is not None:
        return None
    return Unauthorized(f"policy {policy} does not admit {client or address}")


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"
