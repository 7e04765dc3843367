"""The two ends of an exchange, and what joins them.

detector      waits for the bytes that say what a connection speaks
http1_server  requests from a client connection
exchange      one request and its response
http1_client  exchanges over a connection to an endpoint
carrier       takes an exchange to such a connection, warm or new
pool          the warm ones
sessions      those that are open, so that they can be drained
"""
