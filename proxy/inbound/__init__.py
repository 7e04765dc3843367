"""From peers and plain clients to the application.

arrivals  mutual TLS and the transport header, or detection
requests  HTTP: a decision for each request
streams   all else: one decision for the connection, then a relay
caller    who is asking, and for which port
"""
