"""From a socket to a stream of bytes that knows where it is going.

stream        what sessions ask of a connection
accept        a connection arrives
census        which are open, and what waits in them
waiting       holds its place until its user is there
original_dst  where was it going?
detect        what does it speak?
tls           who is at the other end?
header        what one proxy tells the next
sealed        which bundle of anchors a connection began under
connect       a connection to an endpoint
relay         opaque bytes, both ways
sweep         deadlines
"""
