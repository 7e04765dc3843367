"""An application of several protocols that leaves in good order: `polyglot.py FOLDER HTTP TCP HTTP2 GRPC`.

The first two ports are served as steadfast.py does, the third by nginx, which speaks HTTP/2 at once and has
its files in FOLDER (`/` is small, `/large` has LARGE bytes), the last by grpcio, as grpc_server.py does. Asked
to end, it serves on for LINGER_SECONDS, and then until all that has begun is done.
"""

import asyncio
import contextlib
import signal
import sys
import threading
from pathlib import Path

from grpc import aio

from tests.support import grpc_server
from tests.support.echo import Echo, Server
from tests.support.nats import until
from tests.support.steadfast import LINGER_SECONDS, Back, Talker, talks

FINISH_SECONDS = 15.0
"""What has begun must be done after so long."""
LARGE = 100_000
SMALL = b"a small file\n"
NGINX = """
daemon off; user root; worker_processes 1; pid nginx.pid; error_log stderr warn;
events {}
http {
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  keepalive_requests 1000000;
  root files; index small;
  server { listen PORT http2; }
}
"""


def serve_in_threads(http: int, tcp: int) -> None:
    """HTTP/1.1 and TCP."""
    for server in (Server(("0.0.0.0", http), Echo), Talker(("0.0.0.0", tcp), Back)):
        threading.Thread(target=server.serve_forever, daemon=True).start()


def prepare(folder: Path, port: int) -> list[str]:
    """What nginx needs; the command that runs it."""
    files = folder / "files"
    files.mkdir(parents=True, exist_ok=True)
    (files / "small").write_bytes(SMALL)
    (files / "large").write_bytes(b"l" * LARGE)
    (folder / "nginx.conf").write_text(NGINX.replace("PORT", str(port)))
    return ["nginx", "-p", str(folder), "-c", "nginx.conf"]


async def main(folder: Path, http: int, tcp: int, http2: int, grpc: int) -> None:
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    serve_in_threads(http, tcp)
    nginx = await asyncio.create_subprocess_exec(*prepare(folder, http2))
    server = aio.server()
    server.add_generic_rpc_handlers((grpc_server.handlers(),))
    server.add_insecure_port(f"0.0.0.0:{grpc}")
    await server.start()
    await asked.wait()
    await asyncio.sleep(LINGER_SECONDS)
    # nginx(8): QUIT is the graceful one; its TERM is not.
    nginx.send_signal(signal.SIGQUIT)
    await server.stop(FINISH_SECONDS)
    await nginx.wait()
    with contextlib.suppress(TimeoutError):
        await until(lambda: not talks, FINISH_SECONDS)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *map(int, sys.argv[2:])))
