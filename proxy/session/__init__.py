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
http2_output      how that goes out
http2_stream      one stream of it
own_code          methods for each of two classes, at the speed of one
backlog           what waits to go out, counted and bounded
patience          how much busywork a peer may cause
carrier           takes an exchange to a connection, warm or new
pool              the warm ones
errands           tasks for single connections
sessions          those that are open, so that they can be drained
deadlines         when one has taken too long
tally             how an exchange is counted
"""
