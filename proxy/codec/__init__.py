"""Bytes to values and back; no sockets, no time, no I/O.

heads          what requests and responses are
http1          the heads of HTTP/1.1
body           the bodies of HTTP/1.1
frames         the frames of HTTP/2
header_blocks  header blocks of HTTP/2 to fields (HPACK)
http2          fields to heads
"""
