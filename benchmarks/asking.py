"""What a program's admin port says."""

import anyio


async def get(address: str, path: str) -> str:
    """The body that `GET path` answers at HOST:PORT; raises OSError."""
    host, _, port = address.rpartition(":")
    async with await anyio.connect_tcp(host, int(port)) as stream:
        await stream.send(f"GET {path} HTTP/1.0\r\nhost: {host}\r\n\r\n".encode())
        answer = b""
        try:
            while True:
                answer += await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            pass
    return answer.partition(b"\r\n\r\n")[2].decode()
