"""What every room of Tulle shares, words first, doors to the world last.

errors       every way to fail, one word each
version      which Tulle this is
clock        time and chance, so that pure code can be tested
names        services, workloads and identities, and how subjects spell them
latest       a cell of immutable values that many may watch
backoff      how long to wait before trying again
config       the environment, read once, all mistakes told at once
files        files that are whole or not there
log          one line an event, for people or for machines
jwt          the little of JWS that the mesh needs (ES256)
x509         keys, requests, certificates and TLS contexts
contract/    every subject of the bus with the message that travels on it
bus/         the one door to NATS
kube/        the one door to Kubernetes
nats_server  a real nats-server for laptops and tests
nats_version  which of them will do
admin        /live, /ready and /metrics
lease        one holder among several replicas
trusting     whom a service trusts to be the bus
lifecycle    how a program starts, runs and stops
"""
