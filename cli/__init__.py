"""`tulle`: what a person asks of the mesh.

__main__   where it begins
root       the commands, each imported only when it is called; errors in one line
options    what several commands take: --mesh, -o, -n, -t
durations  `10s`, `5m`, `1h`
mesh       a mesh directory, and the bus as its operator
output     tables and JSON, with nothing in them that could command a terminal
answers    asks telemetry, once or again and again
watching   watches a rotation
listening  hears a subject

stat       tulle stat       how workloads and services did
edges      tulle edges      who talked to whom
bus        tulle bus        what is said on the bus
people                      … and who may use it by name
keys                        … how old its keys are, and others in their place
keys_run   what that asks
identity   tulle identity   which certificate each workload has
leaves     what identity knows of them
check      tulle check      is everything as it should be?
checks     … and what that looks at
trust      tulle trust      another trust anchor takes the place of the one there is
trust_run  what that asks, and watches
token      tulle token      lets a workload join
inject     tulle inject     adds the proxy to manifests
uninject   tulle uninject   takes it out again
version    tulle version
demo       tulle demo       a whole mesh on this machine
demo_run   what that does, once its options are read
"""
