"""What is intercepted and what is left alone: settings in, rules out."""

import shlex
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidSettings
from proxy.redirect.ports import MULTIPORT_SLOTS, Ports, chunks, parse_ports
from proxy.redirect.program import document, install, listing, readable, remove
from proxy.redirect.rules import Interception, inbound, outbound

ports = st.tuples(st.integers(1, 65535), st.integers(1, 65535)).map(
    lambda pair: Ports(min(pair), max(pair))
)


def lines(rules: object) -> list[str]:
    """Rules as one would type them, without their comments."""
    return [
        shlex.join(rule).replace(" -m comment --comment", " #", 1)
        for rule in rules  # type: ignore[attr-defined]
    ]


def test_inbound_everything_goes_to_the_proxy_except_its_admin_port() -> None:
    assert lines(inbound(Interception(), 4)) == [
        "-p tcp -m multiport --dports 4191 # tulle/ignore-port -j RETURN",
        "-p tcp # tulle/redirect-all-to-proxy -j REDIRECT --to-port 4143",
    ]


def test_inbound_ports_and_sources_are_ignored_before_anything_is_redirected() -> None:
    settings = Interception(
        inbound_port=5143,
        inbound_ignored=parse_ports("22,8000-8100"),
        subnets_ignored=(ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")),
    )

    assert lines(inbound(settings, 4)) == [
        "-p tcp -m multiport --dports 4191,22,8000:8100 # tulle/ignore-port -j RETURN",
        "-s 192.0.2.0/24 # tulle/ignore-subnet -j RETURN",
        "-p tcp # tulle/redirect-all-to-proxy -j REDIRECT --to-port 5143",
    ]
    assert "-s 2001:db8::/32 # tulle/ignore-subnet -j RETURN" in lines(inbound(settings, 6))


def test_only_the_named_inbound_ports_are_redirected_if_some_are_named() -> None:
    assert lines(inbound(Interception(ports_to_redirect=parse_ports("80,443")), 4))[1:] == [
        "-p tcp -m multiport --dports 80,443 # tulle/redirect-port-to-proxy -j REDIRECT --to-port 4143",
    ]


def test_outbound_the_proxys_own_connections_are_exempt_first_of_all() -> None:
    settings = Interception(
        proxy_uid=2102, proxy_gid=2103, proxy_mark=0x7011E, outbound_ignored=parse_ports("25")
    )

    assert lines(outbound(settings)) == [
        "-m owner --uid-owner 2102 # tulle/ignore-proxy-uid -j RETURN",
        "-m owner --gid-owner 2103 # tulle/ignore-proxy-gid -j RETURN",
        "-m mark --mark 0x7011e # tulle/ignore-proxy-mark -j RETURN",
        "-o lo # tulle/ignore-loopback -j RETURN",
        "-p tcp -m multiport --dports 25 # tulle/ignore-port -j RETURN",
        "-p tcp # tulle/redirect-all-to-proxy -j REDIRECT --to-port 4140",
    ]


def test_a_long_list_of_ports_is_split_over_several_rules() -> None:
    settings = Interception(inbound_ignored=parse_ports(",".join(map(str, range(1, 31)))))

    dports = [rule[5].split(",") for rule in inbound(settings, 4) if "--dports" in rule]

    assert [len(part) for part in dports] == [15, 15, 1]


@given(st.lists(ports).map(tuple))
def test_chunks_fit_a_rule_and_lose_no_port(listed: tuple[Ports, ...]) -> None:
    pieces = list(chunks(listed))

    assert tuple(item for piece in pieces for item in piece) == listed
    assert all(0 < sum(item.slots for item in piece) <= MULTIPORT_SLOTS for piece in pieces)


@given(st.lists(ports).map(tuple))
def test_ports_are_read_as_they_are_written(listed: tuple[Ports, ...]) -> None:
    assert parse_ports(",".join(map(str, listed))) == listed


def test_every_part_that_is_not_a_port_is_named() -> None:
    with pytest.raises(InvalidSettings) as refused:
        parse_ports("80, 0, 5-4, 65536, -1, 1-, ٣, x")

    assert str(refused.value) == (
        "'0', '5-4', '65536', '-1', '1-', '٣', 'x':"
        " expected a port from 1 to 65535 or a range such as 8000-8100"
    )


def test_installing_again_replaces_the_rules_instead_of_adding_to_them() -> None:
    first = install(Interception(proxy_mark=7), 4)

    again = install(Interception(proxy_mark=7), 4, present=listing(first))

    assert [command for command in again if command[0] == "-N"] == []
    assert [command[:2] for command in again if command[0] == "-D"] == [
        ("-D", "PREROUTING"),
        ("-D", "OUTPUT"),
    ]
    assert [command for command in again if command[0] == "-A"] == [
        command for command in first if command[0] == "-A"
    ]


def test_removing_takes_away_jumps_rules_and_chains_and_nothing_of_others() -> None:
    others = "-N DOCKER\n-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER"
    present = others + "\n" + listing(install(Interception(proxy_mark=7), 4))

    assert [" ".join(command) for command in remove(present)] == [
        "-D PREROUTING -m comment --comment tulle/install-redirect -j TULLE_REDIRECT",
        "-D OUTPUT -m comment --comment tulle/install-output -j TULLE_OUTPUT",
        "-F TULLE_REDIRECT",
        "-F TULLE_OUTPUT",
        "-X TULLE_REDIRECT",
        "-X TULLE_OUTPUT",
    ]
    assert remove(others) == ()


def test_a_document_for_iptables_restore_holds_the_commands_in_one_piece() -> None:
    text = document((("-N", "TULLE_OUTPUT"), ("-A", "OUTPUT", "--comment", "tulle/x")))

    assert text == '*nat\n:TULLE_OUTPUT - [0:0]\n-A OUTPUT --comment "tulle/x"\nCOMMIT\n'


def test_readable_commands_can_be_pasted_into_a_shell() -> None:
    assert list(readable("iptables-nft", (("-N", "TULLE_OUTPUT"),))) == [
        "iptables-nft -t nat -N TULLE_OUTPUT"
    ]
