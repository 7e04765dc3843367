"""What `tulle check` looks at: groups of checks, each a question with a yes, a doubt or a no.

frame        checks, groups, findings, and how they are gone through
context      what a check may look at: the mesh directory, the cluster, the bus
show         findings as a table, as JSON, in short
lives        how long certificates still live, and how far clocks are apart
directory    the mesh directory
kubernetes   the Kubernetes API
before       whether Tulle can be installed there
installed    the control plane as it lies in the cluster
injection    whether new pods get their proxies
certificate  the certificate that NATS shows
bus          NATS, and what is retained on it
services     the services as they run
identity     who signs, and who shows what
proxies      the pods of a namespace, and their proxies
plan         which of them are gone through, of which mesh
"""
