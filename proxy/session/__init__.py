"""The two ends of an exchange, and what joins them.

detector          waits for the bytes that say what a connection speaks
host              who has connections served
memo              heads that were read before
http1_server      requests from a client connection, one after the other
http2_server      many at a time
exchange          one request and its response
http1_client      exchanges over a connection to an endpoint, one after the other
http2_client      many at a time
http2_connection  what both ends of HTTP/2 do
http2_stream      one stream of it
http2_output      what goes out: together, and bounded
backlog           how much waits, in all connections together
patience          how much busywork a peer may cause
carrier           takes an exchange to a connection, warm or new
pool              the warm ones
errands           tasks for single connections
sessions          those that are open, so that they can be drained
tally             how an exchange is counted
"""
