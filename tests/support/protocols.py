"""A mesh of clients and servers that nobody here wrote, intercepted in network namespaces.

nginx (HTTP/1.1 on port 80, HTTP/2 on 81), a gRPC server of grpcio, a server of `websockets`, Redis,
PostgreSQL, and a mail server of aiosmtpd. Programs that want a user of their own get one in a user
namespace inside the one that everything runs in.
"""

import glob
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support import bad_http2, events, grpc_server, sockets
from tests.support.hosts import PATH, give_up, require
from tests.support.intercepted import Intercepted, intercepted

TOOLS = {
    "curl": "curl",
    "h2load": "nghttp2-client",
    "nginx": "nginx-light",
    "psql": "postgresql",
    "redis-cli": "redis-server",
    "redis-server": "redis-server",
    "wrk": "wrk",
}
LARGE = int(os.environ.get("TULLE_LARGE_BYTES", str(128 * 1024 * 1024)))
"""Bytes of the file `large` that nginx serves, all zero; a gigabyte in `make soak`."""
SOME_USER = ("unshare", "-U", "--map-user=1000", "--map-group=1000")

APPLICATION = """
namespace: shop
workloads:
  - {{name: client, command: [sleep, "1000"]}}
  - name: web
    command: [sh, -c, "{{python}} -P {events} 0.0.0.0 82 & exec nginx -p {root}/nginx -c nginx.conf"]
    ports: [80, 81, 82]
  - name: grpc
    command: [sh, -c, "{{python}} -P {grpc} {{address}}:50052 & exec {{python}} -P {grpc} {{address}}:50051"]
    ports: [50051, 50052]
  - name: sockets
    command: ["{{python}}", "-P", "{sockets}", "{{address}}", "{{port}}"]
    ports: [8000]
  - name: rough
    command: ["{{python}}", "-P", "{rough}", "{{address}}", "{{port}}"]
    ports: [8000]
  - name: redis
    command: [sh, -c, "redis-server {redis} --port 7000 & exec redis-server {redis} --port 6379"]
    ports: [6379, 7000]
  - name: postgres
    command: [{user}, "{postgres}", -D, "{root}/postgres", -p, "{{port}}", -h, "{{address}}", -k, ""]
    ports: [5433]
  - name: mail
    command: [sh, -c, "{smtpd}:2525 {keep} & exec {smtpd}:25 {keep}"]
    ports: [25, 2525]
"""
NGINX = """
daemon off;
master_process off;
user root;
pid nginx.pid;
error_log stderr;
events {}
http {
  access_log off;
  client_max_body_size 0; client_body_buffer_size 1m; http2_body_preread_size 1m;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  keepalive_requests 1000;
  proxy_http_version 1.1;
  root files;
  server {
    listen 80; listen 81 http2;
    location /hello { return 200 "$server_protocol $host $http_tulle_client_id"; }
    location /trailers { alias files/small; add_trailer x-sum "of all"; }
    location /small-only { client_max_body_size 1k; proxy_pass http://127.0.0.1:82/discard; }
    # The body is kept in a file; its name is the answer.
    location /keep {
      client_body_in_file_only on;
      proxy_pass http://127.0.0.1:83; proxy_pass_request_body off; proxy_set_header content-length "";
      proxy_set_header x-file $request_body_file;
    }
    location /slow/ {
      proxy_buffering off; proxy_request_buffering off; proxy_set_header connection "";
      proxy_pass http://127.0.0.1:82/;
    }
  }
  server { listen 127.0.0.1:83; location / { return 200 "$http_x_file"; } }
}
"""


def postgres_folder() -> str:
    """Where PostgreSQL's programs are; not on the PATH with Debian."""
    folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    return next((folder for folder in reversed(folders) if Path(folder, "initdb").exists()), "")


def prepare(root: Path) -> str:
    """Everything that the servers need in `root`; returns the application."""
    for tool, package in TOOLS.items():
        if shutil.which(tool, path=PATH) is None:
            give_up(f"{tool} missing (sudo apt-get install {package})")
    folder = postgres_folder()
    if not folder:
        give_up("initdb missing (sudo apt-get install postgresql)")
    files = root / "nginx" / "files"
    files.mkdir(parents=True)
    (root / "nginx" / "nginx.conf").write_text(NGINX)
    (files / "small").write_bytes(b"a small file\n")
    (files / "random").write_bytes(os.urandom(50_000_000))
    with (files / "large").open("wb") as large:
        large.truncate(LARGE)
    subprocess.run(
        [
            *SOME_USER,
            f"{folder}/initdb",
            "-D",
            root / "postgres",
            "-U",
            "shop",
            "-A",
            "trust",
            "-N",
        ],
        env=os.environ | {"PATH": PATH},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    with (root / "postgres" / "pg_hba.conf").open("a") as hosts:
        hosts.write("host all all 0.0.0.0/0 trust\n")
    return APPLICATION.format(
        root=root,
        events=events.__file__,
        grpc=grpc_server.__file__,
        sockets=sockets.__file__,
        rough=bad_http2.__file__,
        redis=f"--dir {root} --save --protected-mode no",
        user=", ".join(SOME_USER),
        postgres=f"{folder}/postgres",
        smtpd="{python} -P -m aiosmtpd -n -l {address}",
        keep=f"-c aiosmtpd.handlers.Mailbox {root}/mail",
    )


@asynccontextmanager
async def protocols(root: Path) -> AsyncIterator[Intercepted]:
    """The mesh, with files of the servers in `root`; the test is skipped where it cannot be had."""
    require()
    async with intercepted(prepare(root)) as mesh:
        yield mesh
