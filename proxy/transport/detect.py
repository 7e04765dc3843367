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
_START = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,23} ([!-~\x80-\xff])")
LINE_LIMIT = 1024
"""A line that begins like a request and has not ended after so many bytes is one."""


def detect(head: bytes) -> Protocol | None:
    """Name the protocol that `head` begins; None while more than one is possible.

    HTTP/2 by its preface (RFC 9113 §3.4), HTTP/1 by a method, a space and the begin of a target; an
    empty line before a request is allowed (RFC 9112 §2.2). There are other protocols whose lines have
    words (`SET key value`): what is no path must be followed by a version. All else is opaque.
    """
    head = head.removeprefix(b"\r\n")
    if head.startswith(_PREFACE):
        return Protocol.HTTP2
    if head in (b"", b"\r") or _PREFACE.startswith(head):
        return None
    if start := _START.match(head):
        return Protocol.HTTP1 if start[1] in b"/*" else _told_by_line(head[:LINE_LIMIT])
    word = _METHOD.match(head)
    if word is None:
        return Protocol.TCP
    return None if head[word.end() :] in (b"", b" ") else Protocol.TCP


def _told_by_line(head: bytes) -> Protocol | None:
    line, ended, _ = head.partition(b"\n")
    if b" HTTP/1." in line or len(line) == LINE_LIMIT:
        return Protocol.HTTP1
    return Protocol.TCP if ended else None
