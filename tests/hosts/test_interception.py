"""Real netfilter rules in real network namespaces: which connections reach the proxy, which do not.

The proxy's place is taken by a listener that answers every connection with the original destination.
"""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from services.injector.inject import inject
from tests.support.hosts import Hosts, hosts
from tests.support.pods import MESH, a_pod, container, patched

MARK = "0x7011e"
CLUSTER_IP = "10.96.0.10"
SERVER, SERVER6 = "10.77.0.12", "fd77::12"

# Says on which port it was reached, and where the connection was going.
LISTEN = """
import socket, sys, threading
from proxy.transport.original_dst import original_dst
def serve(port):
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    ready.release()
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(f"{port} {original_dst(connection)}".encode())
ready = threading.Semaphore(0)
for port in map(int, sys.argv[1:]):
    threading.Thread(target=serve, args=(port,)).start()
for _ in sys.argv[1:]:
    ready.acquire()
print("ready", flush=True)
"""
CONNECT = """
import os, socket, sys
host, port, mark, uid = sys.argv[1], int(sys.argv[2]), int(sys.argv[3], 0), int(sys.argv[4])
if uid:
    os.setgid(uid), os.setuid(uid)
try:
    client = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    client.settimeout(5)
    if mark:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
    client.connect((host, port))
    print(client.recv(100).decode())
except OSError as error:
    print(type(error).__name__)
"""


def listen(on: Hosts, host: str, *ports: int) -> "subprocess.Popen[str]":
    program = on.start(host, sys.executable, "-P", "-c", LISTEN, *map(str, ports))
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    return program


def connect(on: Hosts, host: str, to: str, port: int, mark: str = "0", uid: int = 0) -> str:
    return on.python(host, CONNECT, to, str(port), mark, str(uid))


def skip_without(on: Hosts, mode: str) -> None:
    if not on.run("client", f"iptables-{mode}", "-t", "nat", "-S", check=False):
        pytest.skip(f"this kernel has no nat table for iptables-{mode}")


@pytest.fixture
def pair() -> Iterator[Hosts]:
    with hosts("client", "server") as both:
        yield both


def test_outbound_connections_reach_the_proxy_with_their_original_destination(pair: Hosts) -> None:
    pair.redirect("client", "--proxy-mark", MARK)
    listen(pair, "client", 4140)

    assert connect(pair, "client", CLUSTER_IP, 80) == f"4140 ('{CLUSTER_IP}', 80)"
    assert connect(pair, "client", SERVER6, 81) == f"4140 ('{SERVER6}', 81)"


def test_the_proxys_own_marked_connections_pass(pair: Hosts) -> None:
    pair.redirect("client", "--proxy-mark", MARK)
    listen(pair, "client", 4140)
    listen(pair, "server", 8000)

    assert connect(pair, "client", SERVER, 8000, mark=MARK) == "8000 None"
    assert connect(pair, "client", SERVER6, 8000, mark=MARK) == "8000 None"
    assert connect(pair, "client", SERVER, 8000, mark="0x1") == f"4140 ('{SERVER}', 8000)"


def test_inbound_connections_reach_the_proxy_with_their_original_destination(pair: Hosts) -> None:
    pair.redirect("server", "--proxy-mark", MARK)
    listen(pair, "server", 4143, 8000)

    assert connect(pair, "client", SERVER, 8000) == f"4143 ('{SERVER}', 8000)"
    assert connect(pair, "client", SERVER6, 8000) == f"4143 ('{SERVER6}', 8000)"
    assert connect(pair, "client", SERVER, 4143) == "4143 None"


def test_the_admin_port_and_ignored_ports_and_sources_are_left_alone(pair: Hosts) -> None:
    sources = "10.77.0.1/32,fd77::11/128"
    ignored = ("--inbound-ports-to-ignore", "7000-7002", "--subnets-to-ignore", sources)
    pair.redirect("server", "--proxy-mark", MARK, *ignored)
    listen(pair, "server", 4143, 4191, 7001, 8000)

    for server in (SERVER, SERVER6):
        assert connect(pair, "client", server, 4191) == "4191 None"
        assert connect(pair, "client", server, 7001) == "7001 None"
    assert connect(pair, "", SERVER, 8000) == "8000 None"
    assert connect(pair, "client", SERVER, 8000) == f"4143 ('{SERVER}', 8000)"
    assert connect(pair, "client", SERVER6, 8000) == "8000 None"


def test_ignored_outbound_ports_and_loopback_are_left_alone(pair: Hosts) -> None:
    pair.redirect("client", "--proxy-mark", MARK, "--outbound-ports-to-ignore", "25,5432")
    listen(pair, "client", 4140, 9000)
    listen(pair, "server", 5432)

    assert connect(pair, "client", SERVER, 5432) == "5432 None"
    assert connect(pair, "client", SERVER6, 5432) == "5432 None"
    assert connect(pair, "client", SERVER6, 5433) == f"4140 ('{SERVER6}', 5433)"
    assert connect(pair, "client", "::1", 9000) == "9000 None"
    assert connect(pair, "client", "127.0.0.1", 9000) == "9000 None"
    assert connect(pair, "client", "10.77.0.11", 9000) == "9000 None"


def test_only_named_ports_are_redirected_even_if_they_are_many(pair: Hosts) -> None:
    named = ",".join(str(port) for port in range(7000, 7040))
    pair.redirect("server", "--proxy-mark", MARK, "--ports-to-redirect", named)
    listen(pair, "server", 4143, 8000)

    assert connect(pair, "client", SERVER, 7039) == f"4143 ('{SERVER}', 7039)"
    assert connect(pair, "client", SERVER, 8000) == "8000 None"


@pytest.mark.parametrize("mode", ["nft", "legacy"])
def test_a_second_run_replaces_the_first_and_removal_leaves_nothing(pair: Hosts, mode: str) -> None:
    def rules() -> str:
        return "".join(pair.run("client", f"{ip}-{mode}", "-t", "nat", "-S") for ip in tables)

    tables = ("iptables", "ip6tables")
    skip_without(pair, mode)
    before = rules()

    pair.redirect("client", "--mode", mode, "--proxy-mark", "0x1", "--ports-to-redirect", "80")
    pair.redirect("client", "--mode", mode, "--proxy-mark", MARK)
    once = rules()
    pair.redirect("client", "--mode", mode, "--proxy-mark", MARK)

    assert rules() == once
    assert "0x1 " not in once
    assert once.count("-j TULLE_OUTPUT") == 2
    pair.redirect("client", "--mode", mode, "--remove")
    assert rules() == before


@pytest.mark.parametrize("mode", ["nft", "legacy"])
def test_either_back_end_redirects_both_families_and_makes_every_exception(mode: str) -> None:
    exempt = ("--proxy-uid", "2102", "--outbound-ports-to-ignore", "5432")
    ignored = ("--inbound-ports-to-ignore", "7001", "--subnets-to-ignore", "10.77.0.1/32")
    with hosts("client", "server", users=True) as pair:
        skip_without(pair, mode)
        for _ in range(2):
            pair.redirect("client", "--mode", mode, *exempt)
            pair.redirect("server", "--mode", mode, "--proxy-mark", MARK, *ignored)
        listen(pair, "client", 4140)
        listen(pair, "server", 4143, 7001, 8000)

        for server in (SERVER, SERVER6):
            assert connect(pair, "client", server, 80, uid=2103) == f"4140 ('{server}', 80)"
            assert connect(pair, "client", server, 80, uid=2102) == f"4143 ('{server}', 80)"
            assert connect(pair, "client", server, 5432) == f"4143 ('{server}', 5432)"
            assert connect(pair, "client", server, 7001, uid=2102) == "7001 None"
        assert connect(pair, "", SERVER, 8000) == "8000 None"


def test_what_the_injector_gives_a_pod_intercepts_both_families_and_may_run_again() -> None:
    pod = a_pod(
        {"config.tulle.dev/skip-outbound-ports": "25", "config.tulle.dev/proxy-uid": "3000"}
    )
    injected = patched(pod, inject(pod, MESH, {"tulle.dev/inject": "enabled"}).operations)
    flags = container(injected, "tulle-redirect")["command"][3:]
    with hosts("client", "server", users=True) as pair:
        for host in ("client", "server"):
            pair.redirect(host, *flags)
            pair.redirect(host, *flags)
        listen(pair, "client", 4140)
        listen(pair, "server", 4143, 4191, 4567)

        for server in (SERVER, SERVER6):
            assert connect(pair, "client", server, 80, uid=2102) == f"4140 ('{server}', 80)"
            assert connect(pair, "client", server, 80, uid=3000) == f"4143 ('{server}', 80)"
            assert connect(pair, "client", server, 25, uid=2102) == f"4143 ('{server}', 25)"
            assert connect(pair, "client", server, 4191, uid=3000) == "4191 None"
            assert connect(pair, "client", server, 4567, uid=3000) == "4567 None"


def test_the_proxys_group_is_exempt_and_no_other() -> None:
    with hosts("client", "server", users=True) as pair:
        pair.redirect("client", "--proxy-gid", "2102")
        listen(pair, "client", 4140)
        listen(pair, "server", 8000)

        assert connect(pair, "client", SERVER, 8000, uid=2102) == "8000 None"
        assert connect(pair, "client", SERVER, 8000, uid=2103) == f"4140 ('{SERVER}', 8000)"
