"""From the application to endpoints.

arrivals  where to, and what does it speak?
forward   the same for clients that use the port as an ordinary forward proxy
requests  HTTP: a decision for each request
queue     where requests wait for an endpoint
streams   all else: one decision for the connection, then a relay
reach     a connection to an endpoint, and the counters for it
"""
