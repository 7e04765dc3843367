"""`python -m proxy.redirect` as it is called: its flags, its mistakes, and a machine without iptables."""

from pathlib import Path

import pytest

from proxy.redirect.__main__ import main
from proxy.redirect.firewall import FirewallUnavailable, find


def test_simulate_prints_what_would_be_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--simulate", "--proxy-uid", "2102", "--no-ipv6"]) == 0

    said = capsys.readouterr().out.splitlines()
    assert said[0] == "iptables-nft -t nat -N TULLE_REDIRECT"
    assert any("--uid-owner 2102" in line for line in said)
    assert not any("ip6tables" in line for line in said)


def test_simulate_prints_what_would_be_removed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--simulate", "--remove", "--no-ipv6"]) == 0

    said = capsys.readouterr().out
    assert "iptables-nft -t nat -X TULLE_OUTPUT" in said


def test_all_mistakes_are_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = ["--incoming-proxy-port", "80-81", "--proxy-uid", "root", "--proxy-mark", "0"]
    wrong += ["--subnets-to-ignore", "10.0.0.1/8", "--outbound-ports-to-ignore", "0"]

    assert main(wrong) == 2

    assert [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()] == [
        "--incoming-proxy-port",
        "--proxy-uid",
        "--proxy-mark",
        "--outbound-ports-to-ignore",
        "--subnets-to-ignore",
    ]


def test_without_an_exemption_the_proxy_would_talk_to_itself(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--simulate"]) == 2

    assert "--proxy-uid" in capsys.readouterr().err


def test_a_machine_without_iptables_is_told_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(FirewallUnavailable) as unavailable:
        find(4, path=str(tmp_path))

    assert str(unavailable.value).splitlines() == [
        "iptables-nft: not found",
        "iptables: not found",
        "iptables-legacy: not found",
        "iptables is missing: install it with: apt-get install iptables (Debian), apk add iptables (Alpine)",
    ]


def test_the_next_iptables_is_tried_when_one_does_not_work(tmp_path: Path) -> None:
    for name in (
        "iptables-nft",
        "iptables-nft-restore",
        "iptables-legacy",
        "iptables-legacy-restore",
    ):
        works = (
            "echo '-P PREROUTING ACCEPT'" if "legacy" in name else "echo no such table >&2; exit 3"
        )
        (tmp_path / name).write_text(f"#!/bin/sh\n{works}\n")
        (tmp_path / name).chmod(0o755)

    firewall = find(4, path=str(tmp_path))

    assert firewall.mode == "legacy"
    assert firewall.rules() == "-P PREROUTING ACCEPT\n"


def test_an_iptables_that_may_not_says_why_and_what_it_needs(tmp_path: Path) -> None:
    for name in ("iptables", "iptables-restore"):
        (tmp_path / name).write_text("#!/bin/sh\necho Permission denied >&2\nexit 4\n")
        (tmp_path / name).chmod(0o755)

    with pytest.raises(FirewallUnavailable, match=r"Permission denied\n.*NET_ADMIN") as unavailable:
        find(4, ("plain",), path=str(tmp_path))

    assert unavailable.value.reason == "firewall-unavailable"
