"""The sidecar, in the order in which a connection meets it.

transport/   a connection arrives: where was it going, what does it speak, TLS, relay
codec/       bytes to requests and responses, and back
session/     the two ends of an exchange, and what joins them
decide/      which endpoint, whether at all: pure functions of values
refusals     every no, with its statuses
observe/     what happened, counted
settings     what it was told at start
control/     what it knows from the bus, what it says there, what it keeps over a restart
redirect/    the netfilter rules that bring the traffic here
inbound      from peers and plain clients to the application
outbound     from the application to endpoints
admin        /live, /ready, /metrics
aging        no connection outlives what it was trusted by
drain        how it leaves
ready        what a container waits for that starts after it
app          all of it together, started from the ground up
"""
