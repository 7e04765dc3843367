"""The two ends of an exchange, and what joins them.

http1_server  requests from a client connection
exchange      one request and its response
http1_client  exchanges over a connection to an endpoint
pool          such connections while they are idle
"""
