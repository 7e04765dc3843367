"""Bytes to values and back; no sockets, no time, no I/O.

heads  what requests and responses are
http1  the heads of HTTP/1.1
body   the bodies of HTTP/1.1
"""
