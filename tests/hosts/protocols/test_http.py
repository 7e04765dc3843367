"""HTTP/1.1 and HTTP/2 between curl, h2load, wrk and nginx."""

import hashlib
import os
import re
from pathlib import Path

import anyio
import pytest

from tests.support.intercepted import Intercepted

pytestmark = pytest.mark.anyio

VERSIONS = {"HTTP/1.1": ("web:80",), "HTTP/2": ("--http2-prior-knowledge", "web:81")}


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


async def curl(mesh: Intercepted, version: str, path: str, *arguments: str) -> str:
    """What curl prints of a request to nginx in that version of HTTP."""
    *flags, host = VERSIONS[version]
    return await mesh.curl("client-1", *flags, *arguments, f"http://{host}{path}")


async def test_the_version_that_the_client_speaks_is_what_the_server_hears(
    mesh: Intercepted, version: str
) -> None:
    said = await curl(mesh, version, "/hello", "-w", " %{http_version} %{http_code}")

    heard, host, who, *spoken = said.split()
    assert heard == {"HTTP/1.1": "HTTP/1.1", "HTTP/2": "HTTP/2.0"}[version]
    assert (host, who) == ("web", "spiffe://cluster.local/ns/shop/sa/client")
    assert spoken == [version.removeprefix("HTTP/"), "200"]


async def test_a_download_of_50_mb_is_whole(
    mesh: Intercepted, version: str, servers: Path, tmp_path: Path
) -> None:
    sent = (servers / "nginx/files/random").read_bytes()
    await curl(mesh, version, "/random", "-o", str(tmp_path / "got"))

    assert hashlib.sha256((tmp_path / "got").read_bytes()).digest() == hashlib.sha256(sent).digest()


@pytest.mark.parametrize("framing", ["with a length", "in chunks", "after a question"])
async def test_an_upload_of_10_mb_is_whole(
    mesh: Intercepted, version: str, framing: str, tmp_path: Path
) -> None:
    body = os.urandom(10_000_000)
    (tmp_path / "body").write_bytes(body)
    flags = {
        "with a length": ("-H", "expect:", "--data-binary", f"@{tmp_path}/body"),
        # curl does not know the length of what it is told on its standard input.
        "in chunks": ("-H", "expect:", "-X", "POST", "-T", "."),
        "after a question": ("-H", "expect: 100-continue", "--data-binary", f"@{tmp_path}/body"),
    }[framing]
    *more, host = VERSIONS[version]

    command = ("curl", "-sS", "--max-time", "20", "-D", "-", *more, *flags, f"http://{host}/keep")
    text = body if framing == "in chunks" else b""
    said = await mesh.run("client-1", *command, text=text)

    # nginx says nothing in between to a client of HTTP/2, which then sends the body all the same.
    asked = framing == "after a question" and version == "HTTP/1.1"
    assert said.startswith("HTTP/1.1 100 Continue" if asked else f"{version} 200"), said
    head, _, kept = said.rpartition("\r\n\r\n")
    assert await anyio.Path(kept).read_bytes() == body, head


async def test_who_asks_before_a_body_that_is_too_large_need_not_send_it(
    mesh: Intercepted, tmp_path: Path
) -> None:
    (tmp_path / "body").write_bytes(bytes(10_000_000))
    ask = ("-H", "expect: 100-continue", "--data-binary", f"@{tmp_path}/body", "-o", "/dev/null")

    said = await curl(mesh, "HTTP/1.1", "/small-only", *ask, "-w", "%{http_code} %{size_upload}")

    assert said == "413 0"


async def test_an_answer_before_the_end_of_the_request_is_heard(
    mesh: Intercepted, tmp_path: Path
) -> None:
    """By nghttp: this curl loses such an answer even where there is no proxy."""
    (tmp_path / "body").write_bytes(bytes(10_000_000))

    said = await mesh.run(
        "client-1", "nghttp", "-nv", "-d", f"{tmp_path}/body", "http://web:81/small-only"
    )

    assert ":status: 413" in said
    assert "error_code=NO_ERROR" in said.partition("recv RST_STREAM")[2]


async def test_a_head_has_a_length_and_no_body(mesh: Intercepted, version: str) -> None:
    said = await curl(mesh, version, "/random", "--head", "-w", "%{http_code} %{size_download}")

    assert "content-length: 50000000" in said.lower()
    assert said.endswith("200 0")


async def test_ranges_come_as_asked(mesh: Intercepted, version: str, servers: Path) -> None:
    sent = (servers / "nginx/files/random").read_bytes()

    one = await curl(mesh, version, "/random", "-r", "1000000-1000009")
    two = await curl(mesh, version, "/random", "-r", "0-4,10-14", "-w", "%{http_code}")
    none = await curl(
        mesh, version, "/random", "-r", "60000000-", "-o", "/dev/null", "-w", "%{http_code}"
    )

    assert one.encode("latin-1") == sent[1_000_000:1_000_010]
    assert sent[10:15].decode("latin-1") in two
    assert two.endswith("206")
    assert none == "416"


async def test_trailers_come_after_the_body(mesh: Intercepted) -> None:
    said = await curl(mesh, "HTTP/1.1", "/trailers", "-D", "-", "-H", "te: trailers")

    assert re.search(r"\r\n\r\n.*a small file\n.*x-sum: of all", said, re.S)


async def test_many_requests_at_a_time_over_http2_and_none_fails(mesh: Intercepted) -> None:
    """nginx takes its leave after each thousand requests of a connection: what it left undone is sent again."""
    load = ("h2load", "-n", "20000", "-c", "8", "-m", "10")

    said = await mesh.run("client-1", *load, "http://web:81/hello")

    assert "20000 succeeded, 0 failed, 0 errored, 0 timeout" in said, said


async def test_many_requests_at_a_time_over_http1_and_none_fails(mesh: Intercepted) -> None:
    for command in (
        ("h2load", "--h1", "-n", "5000", "-c", "8", "http://web/hello"),
        ("wrk", "-t", "1", "-c", "32", "-d", "1", "http://web/hello"),
        # So that requests and responses have bodies, too.
        ("h2load", "--h1", "-n", "2000", "-c", "8", "-d", "/etc/services", "http://web:82/tell"),
    ):
        said = await mesh.run("client-1", *command)

        assert "Socket errors" not in said, said
        assert "Non-2xx" not in said, said
        assert "0 failed, 0 errored, 0 timeout" in said or command[0] == "wrk", said


async def test_an_edge_is_told_for_each_version(mesh: Intercepted) -> None:
    await curl(mesh, "HTTP/1.1", "/hello")
    await curl(mesh, "HTTP/2", "/hello")

    edges = await mesh.edges()

    for protocol in ("http/1.1", "http/2"):
        edge = edges["client", "web", protocol]
        assert edge.mtls
        assert edge.figures.success_rate == 1.0
