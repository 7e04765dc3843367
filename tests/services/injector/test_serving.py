"""The webhook's certificate: whom it convinces, when it is renewed, and that a bad one is never shown."""

import ssl

import msgspec
import pytest

from common.errors import InvalidCertificate
from common.x509 import show
from services.injector.serving import DAY, LIFE, Serving, is_good, make

HOSTS = ("tulle-injector.tulle.svc", "tulle-injector.tulle.svc.cluster.local")
NOW = 1_800_000_000.0


def handshake(server: ssl.SSLContext, trusted: bytes, host: str) -> None:
    """A TLS handshake in memory; raises SSLError."""
    client = ssl.create_default_context(cadata=trusted.decode())
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(to_client, to_server, server_hostname=host)
    answering = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (asking, answering):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    asking.do_handshake()


def shown(serving: Serving) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    show(context, serving.held)
    return context


def fresh() -> Serving:
    from common.clock import SystemClock

    return make(HOSTS, SystemClock.now())


def test_it_is_believed_by_who_has_it_and_for_its_names_alone() -> None:
    serving = fresh()
    context = shown(serving)

    for host in HOSTS:
        handshake(context, serving.bundle, host)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(context, serving.bundle, "tulle-injector.other.svc")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(context, fresh().bundle, HOSTS[0])


def test_a_successor_is_believed_beside_its_predecessor() -> None:
    first = fresh()
    second = msgspec.structs.replace(fresh(), previous=first.certificate)

    handshake(shown(first), second.bundle, HOSTS[0])
    handshake(shown(second), second.bundle, HOSTS[0])


def test_it_is_renewed_when_most_of_its_life_is_over() -> None:
    serving = make(HOSTS, NOW)

    assert is_good(serving, HOSTS, NOW)
    assert is_good(serving, HOSTS, NOW + 20 * DAY)
    assert not is_good(serving, HOSTS, NOW + 22 * DAY)
    assert not is_good(serving, HOSTS, NOW + LIFE + 1)
    assert not is_good(serving, HOSTS, NOW - DAY)


def test_it_is_renewed_when_it_is_another_servers_or_none() -> None:
    serving, other = make(HOSTS, NOW), make(HOSTS, NOW)

    assert not is_good(serving, (*HOSTS, "more.svc"), NOW)
    assert not is_good(msgspec.structs.replace(serving, key=other.key), HOSTS, NOW)
    assert not is_good(msgspec.structs.replace(serving, key=b"x"), HOSTS, NOW)
    assert not is_good(msgspec.structs.replace(serving, certificate=b"x"), HOSTS, NOW)


def test_a_pair_that_does_not_fit_leaves_the_old_one_shown() -> None:
    serving = fresh()
    context = shown(serving)

    with pytest.raises(InvalidCertificate):
        show(context, fresh().key + fresh().certificate)

    handshake(context, serving.bundle, HOSTS[0])


def test_its_key_is_not_printed() -> None:
    assert "PRIVATE" not in repr(make(HOSTS, NOW))
