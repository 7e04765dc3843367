"""What a connection speaks, told from its first bytes.

Law: more bytes never change an answer.
"""

import re
from enum import Enum


class Protocol(Enum):
    """What a connection speaks; the value is the number in the transport header."""

    TCP = 0
    HTTP1 = 1
    HTTP2 = 2


_PREFACE = b"PRI * HTTP/2.0"
_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,23}")
_START = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,23} [!-~\x80-\xff]")


def detect(head: bytes) -> Protocol | None:
    """Name the protocol that `head` begins; None while more than one is possible.

    HTTP/2 by its preface (RFC 9113 §3.4), HTTP/1 by a method, a space and the begin of a target; an
    empty line before a request is allowed (RFC 9112 §2.2). All else is opaque.
    """
    head = head.removeprefix(b"\r\n")
    if head.startswith(_PREFACE):
        return Protocol.HTTP2
    if head in (b"", b"\r") or _PREFACE.startswith(head):
        return None
    if _START.match(head):
        return Protocol.HTTP1
    word = _METHOD.match(head)
    if word is None:
        return Protocol.TCP
    return None if head[word.end() :] in (b"", b" ") else Protocol.TCP
