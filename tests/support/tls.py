"""TLS handshakes in memory."""

import ssl
from collections.abc import Callable


def shake(
    client: ssl.SSLContext, server: ssl.SSLContext, name: str
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """A handshake in memory, and a byte each way; raises what either side raises."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=name)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    steps: list[Callable[[], object]] = [ours.do_handshake, theirs.do_handshake]
    for _ in range(10):
        for step in list(steps):
            try:
                step()
            except ssl.SSLWantReadError:
                continue
            steps.remove(step)
    assert not steps
    theirs.write(b"!")
    assert ours.read(1) == b"!"
    return ours, theirs
