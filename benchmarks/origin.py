"""The server behind every proxy: one nginx, single process, that answers out of memory.

It plays the gRPC server as well: it answers a POST with one message and `grpc-status: 0` in the trailers,
frame for frame what a unary call is on the wire. A server on a gRPC library takes several times the CPU
that the proxies do; on few cores it would be what is measured.
"""

from pathlib import Path

from benchmarks.place import HTTP1_PORT, HTTP2_PORT, OPAQUE_PORT

BODY = "A service mesh that one can read, answering with about one hundred bytes of plain text to all\n"
GRPC_PATH = "/bench.Echo/Say"
_MESSAGE = b"A reply of some forty bytes, as they are"
_REQUEST = b"A question of forty bytes, or so about."
_BULK_BYTES = 1 << 40
"""Size of the file that has no end; a hole, so that it takes no room."""


def grpc_frame(message: bytes) -> bytes:
    """A message as gRPC sends it: not compressed, its length, itself."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def write(folder: Path, address: str) -> tuple[str, ...]:
    """Write what nginx needs into `folder`; the command that runs it on `address`."""
    folder.mkdir(parents=True)
    (folder / "reply").write_bytes(grpc_frame(_MESSAGE))
    question(folder).write_bytes(grpc_frame(_REQUEST))
    with (folder / "bulk").open("wb") as bulk:
        bulk.truncate(_BULK_BYTES)
    (folder / "nginx.conf").write_text(_config(folder, address))
    return "nginx", "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")


def question(folder: Path) -> Path:
    """The file with the body of a gRPC request."""
    return folder / "question"


def _config(folder: Path, address: str) -> str:
    scratch = "\n".join(
        f"{kind}_temp_path {folder}/scratch;"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""
daemon off;
master_process off;  # would become another user, and in a user namespace there is none
user root;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  {scratch}
  sendfile on;
  tcp_nodelay on;
  keepalive_requests 1000000000;
  http2_max_concurrent_streams 256;
  server {{
    listen {address}:{HTTP1_PORT};
    listen {address}:{HTTP2_PORT} http2;
    listen {address}:{OPAQUE_PORT};
    default_type text/plain;
    location / {{ return 200 "{BODY}"; }}
    location = /bulk {{ alias {folder}/bulk; }}
    location = {GRPC_PATH} {{
      alias {folder}/reply;
      error_page 405 =200 {GRPC_PATH};  # a file is not for POST, otherwise
      default_type application/grpc;
      etag off;
      max_ranges 0;
      add_header last-modified "";
      add_trailer grpc-status 0;
      # Reads the request before it answers, as a gRPC server does; nginx would reset the stream, otherwise.
      mirror /nothing;
      sendfile off;
    }}
    location = /nothing {{ internal; return 204; }}
  }}
}}
"""
